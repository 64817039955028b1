"""The one way a subnet is scored: extracted, calibrated, suppressed as it ships, by COCO's metrics."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.detection.preprocessing import normalise
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.scoring import BATCH_SIZE, score
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.calibration import BATCH_SIZE as CALIBRATION_BATCH
from ofa_det.models.calibration import calibrated
from ofa_det.models.network import DetectionNetwork

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
    """

    def __init__(
        self,
        description: ModelDescription,
        *,
        calibration: CocoDataset,
        calibration_images: int,
        scored: CocoDataset,
    ) -> None:
        self._description = description
        self._calibration = _StretchedImages(calibration, CALIBRATION_BATCH, min(calibration_images, len(calibration)))
        self._scored = _StretchedImages(scored, BATCH_SIZE, len(scored))
        self._dataset = scored

    def predictor(self, network: DetectionNetwork, subnet: SubnetConfig) -> TorchDetector:
        """The subnet as it would ship."""
        stretched = self._calibration(subnet.resolution)
        batches = (torch.from_numpy(images).permute(0, 3, 1, 2) for images in stretched if len(images) > 1)
        return TorchDetector(calibrated(network, subnet, map(normalise, batches)), self._description)

    def score(self, predictor: TorchDetector) -> Metrics:
        """Metrics of a subnet's predictor."""
        return score(predictor, self._dataset, batches=self._scored(predictor.input_size[0]))

    def ap(self, network: DetectionNetwork, subnet: SubnetConfig) -> float:
        """AP of a subnet, as a fraction."""
        return self.score(self.predictor(network, subnet)).ap


class _StretchedImages:
    """Batches of images at any resolution, decoded and stretched once for each, as long as memory allows."""

    def __init__(self, dataset: CocoDataset, batch_size: int, count: int) -> None:
        self._dataset = dataset
        self._batch_size = batch_size
        self._count = count
        self._kept: dict[int, list[NDArray[np.uint8]]] = {}

    def __call__(self, resolution: int) -> Iterable[NDArray[np.uint8]]:
        """(B, resolution, resolution, 3) RGB batches."""
        if resolution in self._kept:
            return self._kept[resolution]
        size = (resolution, resolution)
        batches = image_batches(self._dataset, size=size, batch_size=self._batch_size, limit=self._count)
        pixels = resolution**2 + sum(kept**2 for kept in self._kept)
        if 3 * self._count * pixels > CACHE_BYTES:
            return batches
        self._kept[resolution] = list(batches)
        return self._kept[resolution]
