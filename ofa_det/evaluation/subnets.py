"""The one way a subnet is scored: extracted, calibrated, suppressed as it ships, by COCO's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.scoring import BATCH_SIZE, score, share_of
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.calibration import calibrated, calibration_batches
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.ranks import ALONE, Ranks

CACHE_BYTES = 2 << 30
"""Stretched images are kept in memory up to this size, for calibration and for scoring each; beyond it every subnet
decodes its images again."""


class SubnetScorer:
    """Scores subnets; equal subnets of equal weights get equal scores, whatever was scored before.

    Args:
        description: classes and post-processing of the network.
        calibration: images it was trained on, for batch-norm statistics.
        calibration_images: how many of them, at even distances; at least 2.
        scored: images that AP is measured on.
        ranks: that score them together; each calibrates for itself, which gives the same on all.
    """

    def __init__(
        self,
        description: ModelDescription,
        *,
        calibration: CocoDataset,
        calibration_images: int,
        scored: CocoDataset,
        ranks: Ranks = ALONE,
    ) -> None:
        self._description = description
        self._calibration = calibration
        self._calibration_images = calibration_images
        self._scored = scored
        self._share = share_of(scored, ranks)
        self._ranks = ranks
        self._read_calibration = _KeptImages()
        self._read_scored = _KeptImages()

    def predictor(self, network: DetectionNetwork, subnet: SubnetConfig) -> TorchDetector:
        """The subnet as it would ship."""
        batches = calibration_batches(
            self._calibration, subnet.resolution, num_images=self._calibration_images, read=self._read_calibration
        )
        return TorchDetector(calibrated(network, subnet, batches), self._description)

    def score(self, predictor: TorchDetector) -> Metrics:
        """Metrics of a subnet's predictor."""
        batches = self._read_scored(self._share, size=predictor.input_size, batch_size=BATCH_SIZE)
        return score(predictor, self._scored, batches=batches, ranks=self._ranks)

    def ap(self, network: DetectionNetwork, subnet: SubnetConfig) -> float:
        """AP of a subnet, as a fraction."""
        return self.score(self.predictor(network, subnet)).ap

    def aps(self, network: DetectionNetwork, subnets: Iterable[SubnetConfig]) -> Iterator[float]:
        """AP of each subnet as a fraction, in their order, each as soon as it is measured."""
        return (self.ap(network, subnet) for subnet in subnets)


class _KeptImages:
    """Reads one data set as `image_batches` does, decoding and stretching once for each size, as memory allows."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}

    def __call__(
        self, dataset: CocoDataset, *, size: tuple[int, int], batch_size: int, limit: int | None = None
    ) -> Iterable[NDArray[np.uint8]]:
        """(B, height, width, 3) RGB batches."""
        if size in self._kept:
            return self._kept[size]
        batches = image_batches(dataset, size=size, batch_size=batch_size, limit=limit)
        count = len(dataset) if limit is None else min(limit, len(dataset))
        if 3 * count * sum(height * width for height, width in (size, *self._kept)) > CACHE_BYTES:
            return batches
        self._kept[size] = list(batches)
        return self._kept[size]
