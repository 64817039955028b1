"""Which anchor answers for which object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ofa_det.detection.boxes import area, pairwise_intersection, pairwise_iou, to_corners

BACKGROUND = -1
IGNORED = -2


@dataclass(frozen=True, kw_only=True)
class MatcherConfig:
    """Anchor assignment by IoU (SSD, section 2.2, with RetinaNet's ignored band).

    Args:
        positive_iou: an anchor that overlaps an object by at least this answers for it.
        ignored_iou: an anchor below `positive_iou` but at least here is not trained.
        best_anchors: anchors that every object claims, however little they overlap; an anchor that several claim goes
            to the one it overlaps most. An object smaller than a cell has hardly one above `positive_iou`, and would
            otherwise weigh a tenth of the others in the loss.
        crowd_coverage: an anchor with at least this fraction of its area inside a crowd region is not trained as
            background.
    """

    positive_iou: float = 0.55
    ignored_iou: float = 0.45
    best_anchors: int = 6
    crowd_coverage: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.ignored_iou <= self.positive_iou <= 1:
            raise ValueError(
                f"expected 0 < ignored_iou <= positive_iou <= 1, found {self.ignored_iou} and {self.positive_iou}"
            )
        if self.best_anchors < 1:
            raise ValueError(f"expected best_anchors >= 1, found {self.best_anchors}")


def match_anchors(anchors: Tensor, boxes: Tensor, crowd: Tensor, config: MatcherConfig) -> Tensor:
    """Assigns anchors to the objects of one image.

    Args:
        anchors: (A, 4) (cx, cy, w, h).
        boxes: (G, 4) xyxy objects.
        crowd: (K, 4) xyxy regions of uncounted objects.
        config: thresholds.

    Returns:
        (A,) int64: index of the object, `BACKGROUND` or `IGNORED`.
    """
    corners = to_corners(anchors)
    matches = torch.full((len(anchors),), BACKGROUND, dtype=torch.int64, device=anchors.device)
    if len(crowd):
        covered = pairwise_intersection(corners, crowd).amax(dim=1) / area(corners)
        matches[covered >= config.crowd_coverage] = IGNORED
    if not len(boxes):
        return matches
    iou = pairwise_iou(corners, boxes)
    best, owner = iou.max(dim=1)
    matches[best >= config.ignored_iou] = IGNORED
    matches = torch.where(best >= config.positive_iou, owner, matches)
    # Every object keeps its best anchors; where two want one anchor the better overlap has it.
    claims = torch.zeros_like(iou, dtype=torch.bool).scatter_(
        0, iou.topk(min(config.best_anchors, len(iou)), dim=0)[1], True
    )
    return torch.where(claims.any(dim=1), iou.masked_fill(~claims, -1).argmax(dim=1), matches)
