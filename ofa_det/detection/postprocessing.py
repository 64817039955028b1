"""Scores and boxes to detections: the torch reference of TFLite_Detection_PostProcess."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms


@dataclass(frozen=True, kw_only=True)
class PostProcessConfig:
    """Attributes of the op.

    Args:
        score_threshold: detections below it are dropped before suppression.
        iou_threshold: of two boxes that overlap by more than it, the weaker is suppressed.
        max_detections: detections kept for one image; OVIC wants exactly 100.
        detections_per_class: boxes kept for one class before the best of all classes are taken.
        regular_nms: suppress class by class; otherwise ("fast") once, on each anchor's best class.
    """

    score_threshold: float = 0.01
    iou_threshold: float = 0.6
    max_detections: int = 100
    detections_per_class: int = 100
    regular_nms: bool = True

    def __post_init__(self) -> None:
        for name in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected {name} in [0, 1], found {getattr(self, name)}")
        for name in ("max_detections", "detections_per_class"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, found {getattr(self, name)}")


def postprocess(boxes: Tensor, scores: Tensor, config: PostProcessConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Suppresses overlapping boxes.

    Args:
        boxes: (A, 4) xyxy.
        scores: (A, C) in [0, 1].
        config: thresholds and limits.

    Returns:
        Boxes (N, 4), scores (N,) descending and labels (N,), N <= max_detections.
    """
    if config.regular_nms:
        anchor, label = (scores >= config.score_threshold).nonzero(as_tuple=True)
        kept_scores = scores[anchor, label]
        keep = batched_nms(boxes[anchor], kept_scores, label, config.iou_threshold)
        rank = _rank_within_class(label[keep])
        keep = keep[rank < config.detections_per_class]
        label = label[keep]
    else:
        kept_scores, label = scores.max(dim=1)
        anchor = (kept_scores >= config.score_threshold).nonzero().flatten()
        kept_scores = kept_scores[anchor]
        keep = nms(boxes[anchor], kept_scores, config.iou_threshold)
        label = label[anchor][keep]
    keep, label = keep[: config.max_detections], label[: config.max_detections]
    return boxes[anchor[keep]], kept_scores[keep], label


def _rank_within_class(labels: Tensor) -> Tensor:
    """For labels (N,) by descending score, how many of the same class stand before each."""
    order = torch.argsort(labels, stable=True)
    ordered = labels[order]
    starts = torch.searchsorted(ordered, ordered)
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels), device=labels.device) - starts
    return rank
