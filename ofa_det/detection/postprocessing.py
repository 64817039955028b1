"""Scores and boxes to detections: the torch reference of TFLite_Detection_PostProcess."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from ofa_det.arch.description import PostProcessConfig


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
