"""The one way a subnet is scored: extracted, calibrated, suppressed as it ships, by COCO's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import DrawnImages, image_batches
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.scoring import BATCH_SIZE, score, share_of
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.activation_ranges import RangeRule, calibrated_ranges
from ofa_det.models.calibration import BATCH_SIZE as CALIBRATION_BATCH
from ofa_det.models.calibration import ReadImages, calibrated, calibration_batches
from ofa_det.models.fake_quantization import QuantizedDetector
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.ranks import ALONE, Ranks

CACHE_BYTES = 2 << 30
"""Stretched images are kept in memory up to this size, for calibration and for scoring each; beyond it every subnet
decodes its images again."""

ScorePrecision = Literal["float32", "int8"]

RANGE_IMAGES = 32
"""Calibration images that set the ranges of simulated int8 activations."""

RANGE_RULE: RangeRule = "mse"
"""How they do, as in the export of a float detector."""


class SubnetScorer:
    """Scores subnets; equal subnets of equal weights get equal scores, whatever was scored before.

    Args:
        description: classes and post-processing of the network.
        calibration: images it was trained on, for batch-norm statistics.
        augmentation: how training varied them.
        calibration_images: how many of them; at least 2.
        scored: images that AP is measured on.
        precision: float32, or int8, which is simulated: ranges are chosen as an export chooses them.
        cache_bytes: stretched images that stay in memory, for calibration and for scoring each.
        ranks: that score them together; each calibrates for itself, which gives the same on all.
    """

    def __init__(
        self,
        description: ModelDescription,
        *,
        calibration: CocoDataset,
        augmentation: AugmentationConfig,
        calibration_images: int,
        scored: CocoDataset,
        precision: ScorePrecision = "float32",
        cache_bytes: int = CACHE_BYTES,
        ranks: Ranks = ALONE,
    ) -> None:
        if precision not in get_args(ScorePrecision):
            raise ValueError(f"expected a precision of {', '.join(get_args(ScorePrecision))}, found {precision!r}")
        self._precision = precision
        self._description = description
        self._calibration = calibration
        self._calibration_images = calibration_images
        self._scored = scored
        self._share = share_of(scored, ranks)
        self._ranks = ranks
        self._read_calibration = _KeptImages(cache_bytes, DrawnImages(augmentation=augmentation))
        self._read_ranges = _KeptImages(cache_bytes, image_batches)
        self._read_scored = _KeptImages(cache_bytes, image_batches)

    def of_precision(self, precision: ScorePrecision) -> SubnetScorer:
        """One that scores in another precision, with the same images in memory."""
        other = copy(self)
        other._precision = precision
        return other

    def predictor(self, network: DetectionNetwork, subnet: SubnetConfig) -> TorchDetector:
        """The subnet as it would ship."""
        batches = calibration_batches(
            self._calibration, subnet.resolution, num_images=self._calibration_images, read=self._read_calibration
        )
        detector = calibrated(network, subnet, batches)
        return TorchDetector(self._quantized(detector) if self._precision == "int8" else detector, self._description)

    def _quantized(self, detector: Detector) -> Detector:
        """As its int8 file will compute."""
        size = (detector.subnet.resolution, detector.subnet.resolution)
        read = self._read_ranges(self._calibration, size=size, batch_size=CALIBRATION_BATCH, limit=RANGE_IMAGES)
        few = [image for batch in read for image in batch]
        device = next(detector.parameters()).device
        threshold = self._description.postprocess.score_threshold
        ranges = calibrated_ranges(detector.cpu(), few, rule=RANGE_RULE, score_threshold=threshold)
        return QuantizedDetector.of(detector, ranges).to(device)

    def score(self, predictor: TorchDetector) -> Metrics:
        """Metrics of a subnet's predictor."""
        batches = self._read_scored(self._share, size=predictor.input_size, batch_size=BATCH_SIZE)
        return score(predictor, self._scored, batches=batches, ranks=self._ranks)

    def metrics(self, network: DetectionNetwork, subnet: SubnetConfig) -> Metrics:
        """Metrics of a subnet."""
        return self.score(self.predictor(network, subnet))

    def ap(self, network: DetectionNetwork, subnet: SubnetConfig) -> float:
        """AP of a subnet, as a fraction."""
        return self.metrics(network, subnet).ap

    def aps(self, network: DetectionNetwork, subnets: Iterable[SubnetConfig]) -> Iterator[float]:
        """AP of each subnet as a fraction, in their order, each as soon as it is measured."""
        return (self.ap(network, subnet) for subnet in subnets)


class _KeptImages:
    """Reads one data set as another does, once for each size, as memory allows."""

    def __init__(self, most_bytes: int, read: ReadImages) -> None:
        self._most_bytes = most_bytes
        self._read = read
        self._kept: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}

    def __call__(
        self, dataset: CocoDataset, *, size: tuple[int, int], batch_size: int, limit: int | None = None
    ) -> Iterable[NDArray[np.uint8]]:
        """(B, height, width, 3) RGB batches."""
        if size in self._kept:
            return self._kept[size]
        batches = self._read(dataset, size=size, batch_size=batch_size, limit=limit)
        count = len(dataset) if limit is None else min(limit, len(dataset))
        if 3 * count * sum(height * width for height, width in (size, *self._kept)) > self._most_bytes:
            return batches
        self._kept[size] = list(batches)
        return self._kept[size]
