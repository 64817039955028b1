"""Batch-norm statistics of a detector, computed anew on training images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.detection.preprocessing import normalise
from ofa_det.elastic.layers import BATCH_NORM_MOMENTUM
from ofa_det.models.network import DetectionNetwork, Detector

BATCH_SIZE = 16


class ReadImages(Protocol):
    """Reads images as `image_batches` and `DrawnImages` do, or has them already."""

    def __call__(
        self, dataset: CocoDataset, *, size: tuple[int, int], batch_size: int, limit: int | None = None
    ) -> Iterable[NDArray[np.uint8]]:
        """(B, height, width, 3) RGB batches of at most `limit` images."""
        ...


def calibrated(network: DetectionNetwork, subnet: SubnetConfig, batches: Iterable[Tensor]) -> Detector:
    """A subnet as it ships: extracted, with statistics of its own, in eval mode.

    Args:
        network: holds the subnet; not changed.
        subnet: the subnet.
        batches: images (B, 3, R, R), normalised; at least one batch, of more than one image each.

    Raises:
        ValueError: a subnet that the network does not hold, or no batch.
    """
    detector = network.extract(subnet)
    device = next(detector.parameters()).device
    calibrate_batch_norm(detector, (images.to(device) for images in batches))
    return detector


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
        detector(images, detector.subnet)
        count += 1
    for norm in norms:
        norm.momentum = BATCH_NORM_MOMENTUM
    detector.eval()
    if not count:
        raise ValueError("expected at least one batch to calibrate batch norm with, found none")


def calibration_batches(
    dataset: CocoDataset, resolution: int, *, num_images: int, read: ReadImages
) -> Iterator[Tensor]:
    """Training images for `calibrated`.

    Args:
        dataset: training images.
        resolution: side of the square images, in pixels.
        num_images: at most so many; at least 2. A last batch of a single image has no statistics and is dropped.
        read: gives the images; as training draws them (`DrawnImages`), for statistics of plain ones are others than
            those that the weights were trained with.

    Yields:
        (B, 3, resolution, resolution), normalised.

    Raises:
        ValueError: fewer than 2 images.
    """
    found = min(num_images, len(dataset))
    if found < 2:
        raise ValueError(f"expected at least 2 images to calibrate batch norm with, found {found}")
    size = (resolution, resolution)
    for images in read(dataset, size=size, batch_size=BATCH_SIZE, limit=num_images):
        if len(images) > 1:
            yield normalise(torch.from_numpy(images).permute(0, 3, 1, 2))
