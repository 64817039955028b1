"""Box geometry: (N, 4) xyxy unless said otherwise. Inputs are never changed; zero boxes are fine."""

from __future__ import annotations

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """Areas (N,) of xyxy boxes (N, 4); inverted boxes have none."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return size[..., 0] * size[..., 1]


def to_corners(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) (N, 4) to xyxy."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def pairwise_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Intersection areas (N, M) of boxes (N, 4) and (M, 4)."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    size = (high - low).clamp(min=0)
    return size[..., 0] * size[..., 1]


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4); two empty boxes have 0."""
    intersection = pairwise_intersection(first, second)
    union = area(first)[:, None] + area(second)[None, :] - intersection
    return intersection / union.clamp(min=1e-12)


def generalised_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of boxes pair by pair.

    Args:
        first: (N, 4).
        second: (N, 4).

    Returns:
        IoU (N,) in [0, 1] and generalised IoU (N,) in [-1, 1].
    """
    overlap = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    hull = (torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])).clamp(min=0)
    intersection = overlap[:, 0] * overlap[:, 1]
    union = (area(first) + area(second) - intersection).clamp(min=1e-9)
    hull_area = (hull[:, 0] * hull[:, 1]).clamp(min=1e-9)
    iou = intersection / union
    return iou, iou - (hull_area - union) / hull_area
