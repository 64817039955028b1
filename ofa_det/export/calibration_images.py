"""Which training images an int8 file is calibrated with."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.levels import AnchorSizes
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches, spread

logger = logging.getLogger(__name__)


def calibration_images(
    dataset: CocoDataset, count: int, *, anchor_sizes: AnchorSizes, resolution: int
) -> list[NDArray[np.uint8]]:
    """Images in which every class is seen on every level that finds it, as far as the number allows.

    Args:
        dataset: training images.
        count: how many; all of them, with a warning, if there are fewer.
        anchor_sizes: of each level.
        resolution: side of the images, in pixels.

    Returns:
        (resolution, resolution, 3) RGB each.
    """
    if len(dataset) < count:
        logger.warning("calibrating with all %d images, fewer than the %d asked for", len(dataset), count)
    positions = chosen_positions(dataset, min(count, len(dataset)), anchor_sizes)
    chosen = dataset.subset(np.array(positions, np.int64))
    return [image for batch in image_batches(chosen, size=(resolution, resolution), batch_size=8) for image in batch]


def chosen_positions(dataset: CocoDataset, count: int, anchor_sizes: AnchorSizes) -> list[int]:
    """Positions of so many images, ascending.

    Each kind of object, that is a class on a level, is shown once if it can be, the rarest first; the rest of the
    images are spread evenly over the data set.
    """
    objects = dataset.objects()
    kinds = objects.labels * len(anchor_sizes) + _levels(objects.boxes, anchor_sizes)
    images_of = {int(kind): np.unique(objects.images[kinds == kind]) for kind in np.unique(kinds)}
    chosen: set[int] = set()
    for kind in sorted(images_of, key=lambda kind: len(images_of[kind])):
        found = images_of[kind]
        if len(chosen) < count and not chosen.intersection(found.tolist()):
            chosen.add(int(found[len(found) // 2]))
    others = [position for position in range(len(dataset)) if position not in chosen]
    if len(chosen) < count:
        chosen.update(others[place] for place in spread(len(others), count - len(chosen)))
    return sorted(chosen)


def _levels(boxes: NDArray[np.float32], anchor_sizes: AnchorSizes) -> NDArray[np.int64]:
    """(N,) the level whose anchor has the highest IoU with each box (N, 4), centred on it."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    best = []
    for level in anchor_sizes:
        anchors = np.array(level, np.float32)
        shared = np.minimum(sizes[:, None], anchors).prod(axis=2)
        union = sizes.prod(axis=1)[:, None] + anchors.prod(axis=1) - shared
        best.append((shared / np.maximum(union, 1e-12)).max(axis=1))
    return np.asarray(np.stack(best).argmax(axis=0), np.int64)
