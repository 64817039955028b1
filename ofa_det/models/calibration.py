"""Batch-norm statistics of a detector, computed anew on training images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.detection.preprocessing import normalise
from ofa_det.models.detector import Detector


@torch.no_grad()
def calibrate_batch_norm(detector: Detector, batches: Iterable[Tensor]) -> None:
    """Replaces the running statistics by the equal-weight average over batches, and puts the detector in eval mode.

    A subnet inherits statistics that describe no network (Once-for-All, appendix; BigNAS, section 3.4).

    Args:
        detector: changed in place.
        batches: images (B, 3, R, R), normalised; at least one batch, of more than one image each.

    Raises:
        ValueError: no batch.
    """
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's notation for the cumulative average
    detector.train()
    count = 0
    for images in batches:
        detector(images)
        count += 1
    for norm in norms:
        norm.momentum = 0.1
    detector.eval()
    if not count:
        raise ValueError("expected at least one batch to calibrate batch norm with, found none")


def calibration_batches(
    dataset: CocoDataset, resolution: int, *, num_images: int, batch_size: int = 16
) -> Iterator[Tensor]:
    """Plain training images for `calibrate_batch_norm`.

    Args:
        dataset: training images, taken at even distances.
        resolution: side of the square images, in pixels.
        num_images: at most so many; at least 2.
        batch_size: images in a batch; a last batch of a single image has no statistics and is dropped.

    Yields:
        (B, 3, resolution, resolution), normalised.

    Raises:
        ValueError: fewer than 2 images.
    """
    if min(num_images, len(dataset)) < 2:
        found = min(num_images, len(dataset))
        raise ValueError(f"expected at least 2 images to calibrate batch norm with, found {found}")
    size = (resolution, resolution)
    for images in image_batches(dataset, size=size, batch_size=batch_size, limit=num_images):
        if len(images) > 1:
            yield normalise(torch.from_numpy(images).permute(0, 3, 1, 2))
