"""Which anchor answers for which object, and what score it should give.

Assigning is a pure function of anchors, objects and, for soft scores, a network's detached output. In training it is
called once a batch, with the output of the largest subnet, and its targets serve every subnet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from ofa_det.detection.box_coder import decode
from ofa_det.detection.boxes import area, pairwise_intersection, pairwise_iou, to_corners
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.targets import BACKGROUND, IGNORED, AnchorGrid, Objects, Targets

AssignerKind = Literal["iou", "atss", "task_aligned"]
ScoreKind = Literal["one", "iou"]


class Assigner(Protocol):
    """Makes targets."""

    def __call__(self, grid: AnchorGrid, objects: Objects, output: DetectorOutput) -> Targets:
        """Targets of one batch.

        Args:
            grid: the anchors.
            objects: of B images.
            output: detached, of the network that trains, or of the largest of several.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class AssignerConfig:
    """How anchors are assigned to objects; itself an assigner.

    `iou`: an anchor that overlaps an object enough answers for it (SSD, section 2.2, with RetinaNet's ignored band).
    `atss`: so do anchors that overlap it more than is usual among the nearest on each level (ATSS, section 3.2).
    `task_aligned`: so do those whose predicted class and box fit it best, and each object's scores are scaled such that
    its best anchor learns its best IoU (TOOD, section 3.2), so that small objects weigh as much as others.

    Args:
        kind: iou, atss or task_aligned.
        scores: of iou and atss, what a positive anchor learns to score: one, or the iou of its predicted box.
        positive_iou: of iou, the overlap from which an anchor answers for an object.
        ignored_iou: of iou, an anchor below `positive_iou` but at least here is not trained.
        best_anchors: of iou, anchors that every object claims, however little they overlap; an anchor that several
            claim goes to the one it overlaps most.
        candidates: of atss, the anchors nearest to an object on each level; of task_aligned, its best-fitting anchors.
        score_power: of task_aligned, exponent of the class score in the fit.
        iou_power: of task_aligned, exponent of the predicted box's IoU in the fit.
        ignored_coverage: an anchor with at least this fraction of its area inside an ignored region is not trained as
            background.
    """

    kind: AssignerKind = "task_aligned"
    scores: ScoreKind = "iou"
    positive_iou: float = 0.55
    ignored_iou: float = 0.45
    best_anchors: int = 6
    candidates: int = 10
    score_power: float = 0.5
    iou_power: float = 6.0
    ignored_coverage: float = 0.5

    def __post_init__(self) -> None:
        for name, kinds in (("kind", AssignerKind), ("scores", ScoreKind)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"expected {name} to be {' or '.join(get_args(kinds))}, found {getattr(self, name)!r}")
        if not 0 < self.ignored_iou <= self.positive_iou <= 1:
            raise ValueError(
                f"expected 0 < ignored_iou <= positive_iou <= 1, found {self.ignored_iou} and {self.positive_iou}"
            )
        for name in ("best_anchors", "candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, found {getattr(self, name)}")
        for name in ("score_power", "iou_power"):
            if getattr(self, name) <= 0:
                raise ValueError(f"expected {name} > 0, found {getattr(self, name)}")

    @torch.no_grad()
    def __call__(self, grid: AnchorGrid, objects: Objects, output: DetectorOutput) -> Targets:
        """Targets of one batch; see `Assigner`."""
        predicted = decode(output.box_codes, grid.boxes)
        corners, centres_of = to_corners(grid.boxes), _Centres(grid)
        owners, scores = [], []
        for image, (boxes, labels, ignored) in enumerate(
            zip(objects.boxes, objects.labels, objects.ignored, strict=True)
        ):
            if self.kind == "task_aligned":
                fit = _Fit(
                    iou=pairwise_iou(predicted[image], boxes),
                    score=output.logits[image][:, labels].sigmoid(),
                    inside=centres_of.inside(boxes),
                )
                owner, score = assign_task_aligned(fit, self)
            else:
                iou = pairwise_iou(corners, boxes)
                if self.kind == "iou":
                    owner = assign_by_iou(iou, self)
                else:
                    owner = assign_atss(iou, centres_of.distance(boxes), centres_of.inside(boxes), grid.counts, self)
                score = torch.ones_like(grid.boxes[:, 0])
                if self.scores == "iou" and len(boxes):
                    own = pairwise_iou(predicted[image], boxes).gather(1, owner.clamp(min=0).unsqueeze(1))
                    score = own.squeeze(1)
            owners.append(_without_ignored(owner, corners, ignored, self.ignored_coverage))
            scores.append(score[owner >= 0])
        return self._targets(grid, objects, owners, torch.cat(scores))

    def _targets(self, grid: AnchorGrid, objects: Objects, owners: list[Tensor], scores: Tensor) -> Targets:
        found = [owner[owner >= 0] for owner in owners]
        aligned = self.kind == "task_aligned"
        total = scores.sum() if aligned else scores.new_tensor(float(len(scores)))
        return Targets(
            owners=torch.stack(owners),
            classes=torch.cat([values[index] for values, index in zip(objects.labels, found, strict=True)]),
            boxes=torch.cat([values[index] for values, index in zip(objects.boxes, found, strict=True)]),
            anchors=torch.cat([grid.boxes[owner >= 0] for owner in owners]),
            scores=scores,
            weights=scores if aligned else torch.ones_like(scores),
            normaliser=total.clamp(min=1),
        )


def assign_by_iou(iou: Tensor, config: AssignerConfig) -> Tensor:
    """Assigns by the overlap of anchors with the objects of one image.

    Args:
        iou: (A, G) of anchors and objects.
        config: thresholds.

    Returns:
        (A,) int64: index of the object, `BACKGROUND` or `IGNORED`.
    """
    owners = iou.new_full((len(iou),), BACKGROUND, dtype=torch.int64)
    if not iou.shape[1]:
        return owners
    best, owner = iou.max(dim=1)
    owners[best >= config.ignored_iou] = IGNORED
    owners = torch.where(best >= config.positive_iou, owner, owners)
    # Every object keeps its best anchors; where two want one anchor the better overlap has it.
    claims = _best(iou, config.best_anchors)
    return torch.where(claims.any(dim=1), _owner(iou, claims), owners)


def assign_atss(
    iou: Tensor, distance: Tensor, inside: Tensor, counts: tuple[int, ...], config: AssignerConfig
) -> Tensor:
    """Assigns by how much anchors overlap an object compared with those about it (ATSS, algorithm 1).

    Args:
        iou: (A, G) of anchors and objects.
        distance: (A, G) of their centres.
        inside: (A, G) whether the anchor's centre lies in the object.
        counts: anchors of each level.
        config: number of candidates.

    Returns:
        (A,) int64: index of the object or `BACKGROUND`.
    """
    if not iou.shape[1]:
        return iou.new_full((len(iou),), BACKGROUND, dtype=torch.int64)
    candidate = torch.cat([_best(-level, config.candidates) for level in torch.split(distance, list(counts))])
    number = candidate.sum(dim=0)
    mean = (iou * candidate).sum(dim=0) / number
    deviation = (((iou - mean) ** 2 * candidate).sum(dim=0) / (number - 1).clamp(min=1)).sqrt()
    claims = candidate & inside & (iou >= mean + deviation)
    return torch.where(claims.any(dim=1), _owner(iou, claims), BACKGROUND)


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """How well a network's output fits the objects of one image; all (A, G).

    Args:
        iou: of predicted boxes and objects.
        score: predicted of each object's class.
        inside: whether the anchor's centre lies in the object.
    """

    iou: Tensor
    score: Tensor
    inside: Tensor


def assign_task_aligned(fit: _Fit, config: AssignerConfig) -> tuple[Tensor, Tensor]:
    """Assigns by the fit of predicted class and box (TOOD, equations 1 and 2).

    Args:
        fit: of a network's output.
        config: powers and number of candidates.

    Returns:
        (A,) int64 index of the object or `BACKGROUND`, and (A,) scores to learn.
    """
    background = fit.iou.new_full((len(fit.iou),), BACKGROUND, dtype=torch.int64)
    if not fit.iou.shape[1]:
        return background, torch.zeros_like(fit.iou[:, :0].sum(dim=1))
    alignment = fit.score**config.score_power * fit.iou**config.iou_power * fit.inside
    claims = _best(alignment, config.candidates) & (alignment > 0)
    owner = _owner(fit.iou, claims)
    owned = claims & (owner.unsqueeze(1) == torch.arange(fit.iou.shape[1], device=owner.device))
    best_alignment = (alignment * owned).amax(dim=0).clamp(min=torch.finfo(alignment.dtype).tiny)
    best_iou = (fit.iou * owned).amax(dim=0)
    scores = (alignment * owned / best_alignment * best_iou).amax(dim=1)
    return torch.where(claims.any(dim=1), owner, background), scores


class _Centres:
    """Where the anchors' centres lie, relative to objects."""

    def __init__(self, grid: AnchorGrid) -> None:
        self._centres = grid.boxes[:, None, :2]
        self._reach = grid.cells()[:, None] / 2

    def inside(self, boxes: Tensor) -> Tensor:
        """(A, G) whether an anchor's centre lies in an object (G, 4), or nearest to the centre of a smaller one."""
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        return ((self._centres - centre).abs() <= torch.maximum(half, self._reach)).all(dim=-1)

    def distance(self, boxes: Tensor) -> Tensor:
        """(A, G) of centres."""
        return ((self._centres - (boxes[:, :2] + boxes[:, 2:]) / 2) ** 2).sum(dim=-1).sqrt()


def _best(values: Tensor, count: int) -> Tensor:
    """(A, G) bool: which anchors have the greatest values (A, G) of each object."""
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
