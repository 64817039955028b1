"""AP of a supernet's subnets on held-out training images, each extracted and calibrated as it would ship."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.categories import Category
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.detection.preprocessing import normalise
from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.scoring import coco_results
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.calibration import calibrate_batch_norm
from ofa_det.models.extraction import extract
from ofa_det.models.supernet import Supernet

CALIBRATION_BATCH = 16
SCORING_BATCH = 8
CACHE_BYTES = 2 << 30
"""Stretched images are kept in memory up to this size, for calibration and for scoring each; beyond it a candidate
decodes its images again."""


class CandidateScorer:
    """Scores subnets; equal subnets get equal scores, whatever was scored before.

    Args:
        supernet: in eval mode; not changed.
        categories: its object classes, in the order of the labels.
        calibration: images it was trained on, for batch-norm statistics.
        calibration_images: how many of them, at even distances; at least 2.
        holdout: images it was not trained on, for AP.
    """

    def __init__(
        self,
        supernet: Supernet,
        categories: Sequence[Category],
        *,
        calibration: CocoDataset,
        calibration_images: int,
        holdout: CocoDataset,
    ) -> None:
        self._supernet = supernet
        self._categories = categories
        self._calibration = _StretchedImages(calibration, CALIBRATION_BATCH, min(calibration_images, len(calibration)))
        self._holdout = _StretchedImages(holdout, SCORING_BATCH, len(holdout))
        self._ground_truth: dict[str, Any] = holdout.ground_truth()
        self._images = [(holdout.image_id(index), holdout.image_size(index)) for index in range(len(holdout))]

    def __call__(self, subnet: SubnetConfig) -> float:
        """AP of the extracted, calibrated subnet on the held-out images, as a fraction."""
        detector = extract(self._supernet, subnet)
        device = next(detector.parameters()).device
        batches = (torch.from_numpy(images).permute(0, 3, 1, 2) for images in self._calibration(subnet.resolution))
        # A last batch of a single image has no statistics.
        calibrate_batch_norm(detector, (normalise(images.to(device)) for images in batches if len(images) > 1))
        predictor = TorchDetector(detector, self._categories)
        detections = (found for images in self._holdout(subnet.resolution) for found in predictor.predict(images))
        results = [
            result
            for found, (image_id, image_size) in zip(detections, self._images, strict=True)
            for result in coco_results(found, image_id, image_size)
        ]
        return coco_metrics(self._ground_truth, results).ap


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
