"""Assigners: SSD's by overlap, ATSS and TOOD; `assignment.AssignerConfig` says what their options mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ofa_det.detection.box_coder import decode
from ofa_det.detection.boxes import area, pairwise_intersection, pairwise_iou, to_corners
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.targets import BACKGROUND, IGNORED, AnchorGrid, Objects, Targets

ScoreKind = Literal["one", "iou"]


@dataclass(frozen=True, kw_only=True)
class IouAssigner:
    """Assigns by the overlap of anchors with objects (SSD, section 2.2, with RetinaNet's ignored band)."""

    positive_iou: float
    ignored_iou: float
    best_anchors: int
    scores: ScoreKind
    ignored_coverage: float

    @torch.no_grad()
    def __call__(self, grid: AnchorGrid, objects: Objects, output: DetectorOutput) -> Targets:
        """Targets of one batch; see `Assigner`."""
        corners = to_corners(grid.boxes)
        owners = [self.owners(pairwise_iou(corners, boxes)) for boxes in objects.boxes]
        scores = _label_scores(self.scores, grid, objects, output, owners)
        return pack_targets(grid, objects, owners, scores, weighted=False, ignored_coverage=self.ignored_coverage)

    def owners(self, iou: Tensor) -> Tensor:
        """Assigns the anchors to the objects of one image.

        Args:
            iou: (A, G) of anchors and objects.

        Returns:
            (A,) int64: index of the object, `BACKGROUND` or `IGNORED`.
        """
        owners = iou.new_full((len(iou),), BACKGROUND, dtype=torch.int64)
        if not iou.shape[1]:
            return owners
        best, owner = iou.max(dim=1)
        owners[best >= self.ignored_iou] = IGNORED
        owners = torch.where(best >= self.positive_iou, owner, owners)
        # Every object keeps its best anchors; where two want one anchor the better overlap has it.
        claims = _best(iou, self.best_anchors)
        return torch.where(claims.any(dim=1), _owner(iou, claims), owners)


@dataclass(frozen=True, kw_only=True)
class AtssAssigner:
    """Assigns by how much anchors overlap an object compared with those about it (ATSS, algorithm 1).

    Differs from the paper: centres within half a cell of a small object's centre count as inside it.
    """

    candidates: int
    scores: ScoreKind
    ignored_coverage: float

    @torch.no_grad()
    def __call__(self, grid: AnchorGrid, objects: Objects, output: DetectorOutput) -> Targets:
        """Targets of one batch; see `Assigner`."""
        corners, centres = to_corners(grid.boxes), _Centres(grid)
        owners = [
            self.owners(grid, iou=pairwise_iou(corners, b), distance=centres.distance(b), inside=centres.inside(b))
            for b in objects.boxes
        ]
        scores = _label_scores(self.scores, grid, objects, output, owners)
        return pack_targets(grid, objects, owners, scores, weighted=False, ignored_coverage=self.ignored_coverage)

    def owners(self, grid: AnchorGrid, *, iou: Tensor, distance: Tensor, inside: Tensor) -> Tensor:
        """Assigns the anchors to the objects of one image.

        Args:
            grid: says which anchors share a cell; all of them are candidates, or none.
            iou: (A, G) of anchors and objects.
            distance: (A, G) of their centres, the same for all anchors of a cell.
            inside: (A, G) whether the anchor's centre lies in the object.

        Returns:
            (A,) int64: index of the object or `BACKGROUND`.
        """
        if not iou.shape[1]:
            return iou.new_full((len(iou),), BACKGROUND, dtype=torch.int64)
        pairs = zip(torch.split(distance, list(grid.counts)), grid.per_cell, strict=True)
        nearest = [_best(-level[::shapes], self.candidates).repeat_interleave(shapes, dim=0) for level, shapes in pairs]
        candidate = torch.cat(nearest)
        number = candidate.sum(dim=0)
        mean = (iou * candidate).sum(dim=0) / number
        deviation = (((iou - mean) ** 2 * candidate).sum(dim=0) / (number - 1).clamp(min=1)).sqrt()
        claims = candidate & inside & (iou >= mean + deviation)
        return torch.where(claims.any(dim=1), _owner(iou, claims), BACKGROUND)


@dataclass(frozen=True, kw_only=True)
class TaskAlignedAssigner:
    """Assigns by the fit of predicted class and box (TOOD, section 3.2).

    Each object's scores are scaled such that its best anchor learns its best IoU, so that small objects weigh as much
    as others.

    Differs from the paper: no warm-up by ATSS. By default powers of 0.5 and 6 and 10 candidates, those of YOLOv8, for
    1, 6 and 13. Centres within half a cell of a small object's centre count as inside it.
    """

    candidates: int
    score_power: float
    iou_power: float
    ignored_coverage: float

    @torch.no_grad()
    def __call__(self, grid: AnchorGrid, objects: Objects, output: DetectorOutput) -> Targets:
        """Targets of one batch; see `Assigner`."""
        predicted, centres = decode(output.box_codes, grid.boxes), _Centres(grid)
        assigned = [
            self.owners_and_scores(
                iou=pairwise_iou(predicted[image], boxes),
                score=output.logits[image][:, labels].sigmoid(),
                inside=centres.inside(boxes),
            )
            for image, (boxes, labels) in enumerate(zip(objects.boxes, objects.labels, strict=True))
        ]
        owners, scores = zip(*assigned, strict=True)
        return pack_targets(grid, objects, owners, scores, weighted=True, ignored_coverage=self.ignored_coverage)

    def owners_and_scores(self, *, iou: Tensor, score: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Assigns the anchors to the objects of one image (equations 1 and 2).

        Args:
            iou: (A, G) of predicted boxes and objects.
            score: (A, G) predicted of each object's class.
            inside: (A, G) whether the anchor's centre lies in the object.

        Returns:
            (A,) int64 index of the object or `BACKGROUND`, and (A,) scores to learn.
        """
        background = iou.new_full((len(iou),), BACKGROUND, dtype=torch.int64)
        if not iou.shape[1]:
            return background, iou.new_zeros(len(iou))
        alignment = score**self.score_power * iou**self.iou_power * inside
        claims = _best(alignment, self.candidates) & (alignment > 0)
        owner = _owner(iou, claims)
        owned = claims & (owner.unsqueeze(1) == torch.arange(iou.shape[1], device=owner.device))
        best_alignment = (alignment * owned).amax(dim=0).clamp(min=torch.finfo(alignment.dtype).tiny)
        best_iou = (iou * owned).amax(dim=0)
        scores = (alignment * owned / best_alignment * best_iou).amax(dim=1)
        return torch.where(claims.any(dim=1), owner, background), scores


def pack_targets(
    grid: AnchorGrid,
    objects: Objects,
    owners: Sequence[Tensor],
    scores: Sequence[Tensor],
    *,
    weighted: bool,
    ignored_coverage: float,
) -> Targets:
    """The targets of a batch from what an assigner found image by image.

    Args:
        grid: the anchors.
        objects: of B images.
        owners: per image, (A,) index of the object, `BACKGROUND` or `IGNORED`.
        scores: per image, (A,) to learn; read of positive anchors alone.
        weighted: whether a positive anchor's box weighs as its score, or else 1; either is multiplied by the greatest
            class score of its object.
        ignored_coverage: background anchors with at least this fraction of their area inside an ignored region become
            `IGNORED`.
    """
    corners = to_corners(grid.boxes)
    pairs = zip(owners, objects.ignored, strict=True)
    owners = [_without_ignored(owner, corners, regions, ignored_coverage) for owner, regions in pairs]
    found = [owner[owner >= 0] for owner in owners]
    positive_scores = torch.cat([score[owner >= 0] for score, owner in zip(scores, owners, strict=True)])
    weights = positive_scores if weighted else torch.ones_like(positive_scores)
    class_scores: Tensor | None = None
    if objects.class_scores is not None:
        class_scores = torch.cat([s[index] for s, index in zip(objects.class_scores, found, strict=True)])
        weights = weights * class_scores.amax(dim=1)
    return Targets(
        owners=torch.stack(owners),
        classes=torch.cat([labels[index] for labels, index in zip(objects.labels, found, strict=True)]),
        boxes=torch.cat([boxes[index] for boxes, index in zip(objects.boxes, found, strict=True)]),
        anchors=torch.cat([grid.boxes[owner >= 0] for owner in owners]),
        scores=positive_scores,
        weights=weights,
        class_scores=class_scores,
    )


class _Centres:
    """Where the anchors' centres lie, relative to objects."""

    def __init__(self, grid: AnchorGrid) -> None:
        self._centres = grid.boxes[:, None, :2]
        self._reach = grid.cells[:, None] / 2

    def inside(self, boxes: Tensor) -> Tensor:
        """(A, G) whether an anchor's centre lies in an object (G, 4), or within half a cell of a smaller one's."""
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        return ((self._centres - centre).abs() <= torch.maximum(half, self._reach)).all(dim=-1)

    def distance(self, boxes: Tensor) -> Tensor:
        """(A, G) of centres."""
        return ((self._centres - (boxes[:, :2] + boxes[:, 2:]) / 2) ** 2).sum(dim=-1).sqrt()


def _label_scores(
    kind: ScoreKind, grid: AnchorGrid, objects: Objects, output: DetectorOutput, owners: Sequence[Tensor]
) -> list[Tensor]:
    """Per image, (A,) scores to learn: one, or the IoU of an anchor's predicted box with the object that owns it."""
    scores = [torch.ones_like(grid.boxes[:, 0]) for _ in owners]
    if kind == "iou":
        predicted = decode(output.box_codes, grid.boxes)
        for image, (boxes, owner) in enumerate(zip(objects.boxes, owners, strict=True)):
            if len(boxes):
                own = owner.clamp(min=0).unsqueeze(1)
                scores[image] = pairwise_iou(predicted[image], boxes).gather(1, own).squeeze(1)
    return scores


def _best(values: Tensor, count: int) -> Tensor:
    """(A, G) bool: which rows have the greatest values (A, G) of each object."""
    top = values.topk(min(count, len(values)), dim=0).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter_(0, top, True)


def _owner(iou: Tensor, claims: Tensor) -> Tensor:
    """(A,) of the objects that claim an anchor, the one with the greatest IoU."""
    return iou.masked_fill(~claims, -1).argmax(dim=1)


def _without_ignored(owners: Tensor, corners: Tensor, ignored: Tensor, coverage: float) -> Tensor:
    """Takes anchors (A, 4) that lie in ignored regions (K, 4) out of the background."""
    if not len(ignored):
        return owners
    covered = pairwise_intersection(corners, ignored).amax(dim=1) / area(corners)
    return torch.where((owners == BACKGROUND) & (covered >= coverage), IGNORED, owners)
