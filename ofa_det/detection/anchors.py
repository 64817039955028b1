"""Anchors of a detector, and anchors fitted to the boxes of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofa_det.arch.detector import NUM_LEVELS, AnchorSizes, ssd_anchor_sizes

LEVEL_STRIDES = (1 / 20, 1 / 10, 1 / 5, 1 / 3, 1 / 2, 1.0)
"""Cell sides of the six levels as fractions of a 320 px input; other resolutions differ by rounding only."""


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


@dataclass(frozen=True, kw_only=True)
class AnchorFit:
    """Anchors fitted to a data set.

    Args:
        anchor_sizes: (width, height) of each level's anchors, as fractions of the input.
        mean_iou: mean over the boxes of the IoU with the best centred anchor.
        recall: fraction of the boxes whose best centred anchor has IoU > 0.5.
        default_mean_iou, default_recall: the same of the stock SSDLite anchors.
    """

    anchor_sizes: AnchorSizes
    mean_iou: float
    recall: float
    default_mean_iou: float
    default_recall: float


def fit_anchors(box_sizes: NDArray[np.float32], *, num_anchors: int = 9, seed: int = 0) -> AnchorFit:
    """Clusters box shapes by IoU (YOLO9000, section 2) and gives each cluster to the level whose cells suit it.

    A cluster goes to the coarsest level whose cells are at most half of its shorter side, so that neighbouring objects
    do not share a cell; the finest level takes what is smaller. A level that got no cluster keeps one square anchor of
    the SSD scale, so that an object larger than any seen can still be found.

    Args:
        box_sizes: (N, 2) width and height of the training boxes, as fractions of the image.
        num_anchors: number of clusters.
        seed: of the clustering's start.

    Returns:
        The anchors with their fit and that of the stock anchors.

    Raises:
        ValueError: fewer boxes than clusters.
    """
    if len(box_sizes) < num_anchors:
        raise ValueError(
            f"expected at least {num_anchors} boxes to fit anchors to, found {len(box_sizes)}; lower num_anchors"
        )
    clusters = _cluster(box_sizes.astype(np.float64), num_anchors, np.random.default_rng(seed))
    levels: list[list[tuple[float, float]]] = [[] for _ in range(NUM_LEVELS)]
    for width, height in clusters[np.argsort(clusters.prod(axis=1))].round(4).tolist():
        fitting = [level for level, stride in enumerate(LEVEL_STRIDES) if stride <= min(width, height) / 2]
        levels[fitting[-1] if fitting else 0].append((width, height))
    default = ssd_anchor_sizes()
    for level, sizes in enumerate(levels):
        if not sizes:
            side = round(default[level][0][0], 4)
            sizes.append((side, side))
    fitted = tuple(tuple(sizes) for sizes in levels)
    best, stock = _best_iou(box_sizes, fitted), _best_iou(box_sizes, default)
    return AnchorFit(
        anchor_sizes=fitted,
        mean_iou=float(best.mean()),
        recall=float((best > 0.5).mean()),
        default_mean_iou=float(stock.mean()),
        default_recall=float((stock > 0.5).mean()),
    )


def _cluster(sizes: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """K-means on 1 - IoU with medians as centres; k-means++ start."""
    centres = sizes[rng.integers(len(sizes))][None]
    while len(centres) < count:
        distance = 1 - _centred_iou(sizes, centres).max(axis=1)
        total = distance.sum()
        weights = distance / total if total > 0 else None
        centres = np.concatenate((centres, sizes[rng.choice(len(sizes), p=weights)][None]))
    for _ in range(100):
        nearest = _centred_iou(sizes, centres).argmax(axis=1)
        moved = np.stack(
            [np.median(sizes[nearest == k], axis=0) if (nearest == k).any() else centres[k] for k in range(count)]
        )
        if np.allclose(moved, centres):
            break
        centres = moved
    return np.asarray(centres)


def _best_iou(sizes: NDArray[np.floating], anchor_sizes: AnchorSizes) -> NDArray[np.float64]:
    anchors = np.array([size for level in anchor_sizes for size in level])
    return np.asarray(_centred_iou(sizes.astype(np.float64), anchors).max(axis=1))


def _centred_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    intersection = np.minimum(first[:, None], second[None]).prod(axis=-1)
    return np.asarray(intersection / (first.prod(axis=1)[:, None] + second.prod(axis=1)[None] - intersection))
