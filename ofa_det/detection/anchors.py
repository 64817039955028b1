"""Anchors of a detector, and anchors fitted to the boxes of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofa_det.arch.levels import AnchorFit, AnchorSizes, ssd_anchor_sizes


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


def fit_anchors(
    box_sizes: NDArray[np.float32],
    *,
    cell_sizes: Sequence[float],
    num_anchors: int = 9,
    evenly: bool = False,
    seed: int = 0,
) -> AnchorFit:
    """Clusters box shapes by IoU (YOLO9000, section 2) and gives each cluster to the level whose cells suit it.

    A cluster goes to the coarsest level whose cells are at most half of its shorter side, so that neighbouring objects
    do not share a cell; the finest level takes what is smaller. A level that got no cluster keeps one square anchor, of
    the SSD scale where there are several levels, so that an object larger than any seen can still be found.

    Args:
        box_sizes: (N, 2) width and height of the training boxes, as fractions of the image.
        cell_sizes: per level, the side of a cell as a fraction of the input, ascending.
        num_anchors: number of clusters; rounded up to a multiple of the levels if they are to be filled evenly.
        evenly: gives every level as many, by ascending area; a head that all levels share needs that.
        seed: of the clustering's start.

    Returns:
        The anchors with their fit and that of the stock anchors.

    Raises:
        ValueError: fewer boxes than clusters.
    """
    if evenly:
        num_anchors = -(-num_anchors // len(cell_sizes)) * len(cell_sizes)
    if len(box_sizes) < num_anchors:
        raise ValueError(f"expected at least {num_anchors} boxes to fit anchors to, found {len(box_sizes)}; fit fewer")
    clusters = _cluster(box_sizes.astype(np.float64), num_anchors, np.random.default_rng(seed))
    ascending = clusters[np.argsort(clusters.prod(axis=1))].round(4)
    levels = np.split(ascending, len(cell_sizes)) if evenly else _by_cell_size(ascending, cell_sizes)
    fitted = tuple(tuple((width, height) for width, height in sizes.tolist()) for sizes in levels)
    best, stock = _best_iou(box_sizes, fitted), _best_iou(box_sizes, ssd_anchor_sizes())
    return AnchorFit(
        anchor_sizes=fitted,
        mean_iou=float(best.mean()),
        recall=float((best > 0.5).mean()),
        stock_mean_iou=float(stock.mean()),
        stock_recall=float((stock > 0.5).mean()),
    )


def _by_cell_size(clusters: NDArray[np.float64], cell_sizes: Sequence[float]) -> list[NDArray[np.float64]]:
    """Deals out (N, 2) sizes; a level that gets none keeps a square one."""
    levels: list[list[NDArray[np.float64]]] = [[] for _ in cell_sizes]
    for cluster in clusters:
        fitting = [level for level, cell in enumerate(cell_sizes) if cell <= cluster.min() / 2]
        levels[fitting[-1] if fitting else 0].append(cluster)
    squares = [sizes[0][0] for sizes in ssd_anchor_sizes(len(levels))] if len(levels) > 1 else [0.5]
    return [np.array(sizes or [np.full(2, square)]).round(4) for sizes, square in zip(levels, squares, strict=True)]


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
