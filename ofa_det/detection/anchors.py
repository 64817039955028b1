"""Anchors of a detector where they stand, and how well they suit boxes there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofa_det.arch.levels import AnchorRecall, AnchorSizes, Recall


def anchor_boxes(feature_sizes: Sequence[tuple[int, int]], anchor_sizes: AnchorSizes) -> Tensor:
    """Places every anchor size at every cell centre.

    Args:
        feature_sizes: (height, width) of each level's feature map.
        anchor_sizes: (width, height) of each level's anchors, as fractions of the input.

    Returns:
        (A, 4) float32 (cx, cy, w, h), normalised; ordered by level, row, column, size.
    """
    levels = []
    for (height, width), sizes in zip(feature_sizes, anchor_sizes, strict=True):
        y = (torch.arange(height, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32) + 0.5) / width
        centres = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 1, 2)
        size = torch.tensor(sizes, dtype=torch.float32).reshape(1, -1, 2)
        count = (centres.shape[0], size.shape[1], 2)
        levels.append(torch.cat((centres.expand(count), size.expand(count)), dim=-1).reshape(-1, 4))
    return torch.cat(levels)


def placed_iou(boxes: NDArray[np.floating], cells: int, sizes: NDArray[np.floating]) -> NDArray[np.float32]:
    """IoU of boxes with anchors of given sizes, each in the cell that suits the box best.

    That is the cell whose centre is nearest, in closed form: what two intervals share never grows with the distance of
    their centres, and the two axes do not depend on each other.

    Args:
        boxes: (N, 4) xyxy, normalised.
        cells: side of the level's feature map.
        sizes: (M, 2) width and height, as fractions of the input.

    Returns:
        (N, M).
    """
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    offsets = np.abs((np.clip(np.floor(centres * cells), 0, cells - 1) + 0.5) / cells - centres)
    areas = sides.prod(axis=1)
    found = np.empty((len(boxes), len(sizes)), np.float32)
    for column, size in enumerate(sizes):  # One at a time: a million boxes with all anchors would not fit in memory.
        shared = np.minimum(np.minimum(sides, size), (sides + size) / 2 - offsets).clip(0).prod(axis=1)
        found[:, column] = shared / (areas + size.prod() - shared)
    return found


def placed_recall(
    boxes: NDArray[np.floating],
    labels: NDArray[np.int64],
    *,
    num_classes: int,
    cells: Sequence[int],
    anchor_sizes: AnchorSizes,
) -> AnchorRecall:
    """How well the anchors of a detector suit boxes, where they stand.

    Args:
        boxes: (N, 4) xyxy, normalised.
        labels: (N,) class indices.
        num_classes: of the data set.
        cells: side of each level's feature map.
        anchor_sizes: (width, height) of each level's anchors, as fractions of the input; a level may have none.
    """
    best, level_of = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), np.int64)
    for level, (side, sizes) in enumerate(zip(cells, anchor_sizes, strict=True)):
        for size in sizes:
            iou = placed_iou(boxes, side, np.array([size]))[:, 0]
            level_of[iou > best] = level
            best = np.maximum(best, iou)
    return AnchorRecall(
        classes=_recall_by(labels, num_classes, best > 0.5),
        levels=_recall_by(level_of, len(cells), best > 0.5),
        mean_iou=round(float(best.mean(dtype=np.float64)), 6) if len(best) else 0.0,
    )


def _recall_by(groups: NDArray[np.int64], count: int, recalled: NDArray[np.bool_]) -> tuple[Recall, ...]:
    totals = np.bincount(groups, minlength=count).tolist()
    hits = np.bincount(groups[recalled], minlength=count).tolist()
    return tuple(Recall(boxes=total, recalled=hit) for total, hit in zip(totals, hits, strict=True))
