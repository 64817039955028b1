"""Which anchor answers for which object, and what score it should give.

Assigning is a pure function of anchors, objects and, for soft scores, a network's detached output. In training it is
called once a batch, with the output of the largest subnet, and its targets serve every subnet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from ofa_det.detection.assigners import AtssAssigner, IouAssigner, ScoreKind, TaskAlignedAssigner
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.targets import AnchorGrid, Objects, Targets

AssignerKind = Literal["iou", "atss", "task_aligned"]


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
    """How anchors are assigned to objects.

    `iou`: an anchor that overlaps an object enough answers for it (`IouAssigner`).
    `atss`: so do anchors that overlap it more than is usual among the nearest on each level (`AtssAssigner`).
    `task_aligned`: so do those whose predicted class and box fit it best (`TaskAlignedAssigner`).

    Args:
        kind: iou, atss or task_aligned.
        scores: of iou and atss, what a positive anchor learns to score: one, or the iou of its predicted box.
        positive_iou: of iou, the overlap from which an anchor answers for an object.
        ignored_iou: of iou, an anchor below `positive_iou` but at least here is not trained.
        best_anchors: of iou, anchors that every object claims, however little they overlap; an anchor that several
            claim goes to the one it overlaps most.
        candidates: of atss, the nearest cells on each level, with all their anchors; of task_aligned, an object's
            best-fitting anchors.
        score_power: of task_aligned, exponent of the class score in the fit.
        iou_power: of task_aligned, exponent of the predicted box's IoU in the fit.
        ignored_coverage: of all kinds, an anchor with at least this fraction of its area inside an ignored region is
            not trained as background.
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
        if not 0 < self.ignored_coverage <= 1:
            raise ValueError(f"expected 0 < ignored_coverage <= 1, found {self.ignored_coverage}")


def make_assigner(config: AssignerConfig) -> Assigner:
    """The assigner that a config describes."""
    if config.kind == "iou":
        return IouAssigner(
            positive_iou=config.positive_iou,
            ignored_iou=config.ignored_iou,
            best_anchors=config.best_anchors,
            scores=config.scores,
            ignored_coverage=config.ignored_coverage,
        )
    if config.kind == "atss":
        return AtssAssigner(
            candidates=config.candidates, scores=config.scores, ignored_coverage=config.ignored_coverage
        )
    return TaskAlignedAssigner(
        candidates=config.candidates,
        score_power=config.score_power,
        iou_power=config.iou_power,
        ignored_coverage=config.ignored_coverage,
    )
