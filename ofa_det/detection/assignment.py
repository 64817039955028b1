"""Which anchor answers for which object, and what it should give."""

from __future__ import annotations

from collections.abc import Sequence
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
        ignored_coverage: an anchor with at least this fraction of its area inside an ignored region is not trained as
            background.
    """

    positive_iou: float = 0.55
    ignored_iou: float = 0.45
    best_anchors: int = 6
    ignored_coverage: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.ignored_iou <= self.positive_iou <= 1:
            raise ValueError(
                f"expected 0 < ignored_iou <= positive_iou <= 1, found {self.ignored_iou} and {self.positive_iou}"
            )
        if self.best_anchors < 1:
            raise ValueError(f"expected best_anchors >= 1, found {self.best_anchors}")


def match_anchors(anchors: Tensor, boxes: Tensor, ignored: Tensor, config: MatcherConfig) -> Tensor:
    """Assigns anchors to the objects of one image.

    Args:
        anchors: (A, 4) (cx, cy, w, h).
        boxes: (G, 4) xyxy objects.
        ignored: (K, 4) xyxy regions that are not background: crowds, fragments of cropped objects.
        config: thresholds.

    Returns:
        (A,) int64: index of the object, `BACKGROUND` or `IGNORED`.
    """
    corners = to_corners(anchors)
    matches = torch.full((len(anchors),), BACKGROUND, dtype=torch.int64, device=anchors.device)
    if len(ignored):
        covered = pairwise_intersection(corners, ignored).amax(dim=1) / area(corners)
        matches[covered >= config.ignored_coverage] = IGNORED
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


@dataclass(frozen=True, kw_only=True)
class MatchedTargets:
    """Targets of a batch, anchor by anchor; the same for every subnet that trains on it.

    Args:
        matches: (B, A) object index, `BACKGROUND` or `IGNORED`.
        classes: (P,) label of each positive anchor, in the order of `matches >= 0`.
        boxes: (P, 4) xyxy box of each positive anchor.
        anchors: (P, 4) each positive anchor.
    """

    matches: Tensor
    classes: Tensor
    boxes: Tensor
    anchors: Tensor

    @property
    def positive(self) -> Tensor:
        """(B, A) which anchors answer for an object."""
        return self.matches >= 0


def match_batch(
    anchors: Tensor,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    ignored: Sequence[Tensor],
    config: MatcherConfig,
) -> MatchedTargets:
    """Matches every image of a batch.

    Args:
        anchors: (A, 4) (cx, cy, w, h).
        boxes: per image, (G, 4) xyxy.
        labels: per image, (G,) class indices.
        ignored: per image, (K, 4) xyxy regions that are not trained as background.
        config: of the matcher.

    Returns:
        Targets of the whole batch.
    """
    matches = torch.stack([match_anchors(anchors, b, c, config) for b, c in zip(boxes, ignored, strict=True)])
    found = [m[m >= 0] for m in matches]
    return MatchedTargets(
        matches=matches,
        classes=torch.cat([values[index] for values, index in zip(labels, found, strict=True)]),
        boxes=torch.cat([values[index] for values, index in zip(boxes, found, strict=True)]),
        anchors=torch.cat([anchors[m >= 0] for m in matches]),
    )
