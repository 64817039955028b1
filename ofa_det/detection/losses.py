"""Training losses of one network's output against its targets, and against a teacher's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa_det.detection.box_coder import decode, encode
from ofa_det.detection.boxes import generalised_iou
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.targets import IGNORED, Targets

ClassificationLoss = Literal["varifocal", "quality_focal", "hard_negatives"]
BoxLoss = Literal["giou", "smooth_l1"]
Distillation = Literal["adds", "replaces"]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the losses.

    `varifocal` (VarifocalNet, equation 2): a positive weighs as much as its score should be. `quality_focal`
    (Generalized Focal Loss, equation 5): everything weighs by how wrong it is. `hard_negatives` (SSD, section 2.2):
    cross entropy of the positives and of the worst negatives of each image.

    `giou`: one minus the generalised IoU, in which every box weighs about as much. `smooth_l1` (Fast R-CNN, section
    2.3) of the box codes, summed over the four: what is far off weighs most, such as rare classes; its usual weight is
    1.

    Args:
        classification: varifocal, quality_focal or hard_negatives.
        focal_gamma: exponent of the error by which varifocal weighs negatives and quality_focal everything; 0 gives
            plain cross entropy.
        focal_alpha: of varifocal, weight of the negatives.
        negatives_per_positive: of hard_negatives.
        box: giou or smooth_l1.
        box_weight: factor of the box loss.
        distill_weight: factor of the losses against the teacher.
        distillation: whether what the teacher says `adds` to the labels, its class scores on matched anchors only
            (distilling all anchors hurts light detectors; and between two boxes to learn from, a loss of overlap has
            no slope), or `replaces` them for whom it teaches (BigNAS, section 3.2); then its boxes too, and scores on
            all anchors, since matched ones alone do not tell what is background. Unused when one subnet trains, alone
            or at each step (`alternating`), like `distill_weight`.
    """

    classification: ClassificationLoss = "varifocal"
    focal_gamma: float = 2.0
    focal_alpha: float = 0.75
    negatives_per_positive: float = 3.0
    box: BoxLoss = "giou"
    box_weight: float = 2.0
    distill_weight: float = 1.0
    distillation: Distillation = "adds"

    def __post_init__(self) -> None:
        if self.classification not in get_args(ClassificationLoss):
            known = ", ".join(get_args(ClassificationLoss))
            raise ValueError(f"expected a classification loss of {known}, found {self.classification!r}")
        if self.box not in get_args(BoxLoss):
            raise ValueError(f"expected a box loss of {', '.join(get_args(BoxLoss))}, found {self.box!r}")
        for name in ("focal_gamma", "focal_alpha", "negatives_per_positive", "box_weight", "distill_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} >= 0, found {getattr(self, name)}")
        if self.distillation not in get_args(Distillation):
            raise ValueError(f"expected distillation to be adds or replaces, found {self.distillation!r}")
        if self.distillation == "replaces" and self.distill_weight == 0:
            raise ValueError("expected distill_weight > 0 where distillation replaces the labels, found 0; let it add")


class DetectionLosses(NamedTuple):
    """Scalar losses, weighted, each over the normaliser of the targets."""

    classification: Tensor
    box: Tensor
    distillation: Tensor
    imitation: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.classification + self.box + self.distillation + self.imitation


def detection_losses(
    output: DetectorOutput, targets: Targets, config: LossConfig, teacher: DetectorOutput | None = None
) -> DetectionLosses:
    """Classification and box losses, and with a teacher the distance to it beside or instead of them.

    Args:
        output: of the network that trains.
        targets: what each anchor should give.
        config: weights.
        teacher: output of a stronger network on the same images and anchors.

    Returns:
        Scalar losses; zero boxes in the batch give a box loss of zero. Where the teacher replaces the labels, all is
        distillation.
    """
    positive = targets.positive
    codes = output.box_codes[positive]
    apart = _box_distance(codes, targets.boxes, targets.anchors, config.box)
    box = config.box_weight * (targets.weights * apart).sum() / targets.normaliser

    shares = targets.class_scores
    if shares is None:
        shares = F.one_hot(targets.classes, output.logits.shape[-1])
    wanted, answers = torch.zeros_like(output.logits), torch.zeros_like(output.logits, dtype=torch.bool)
    wanted[positive], answers[positive] = shares * targets.scores.unsqueeze(-1), shares > 0
    if teacher is not None and config.distillation == "replaces":
        wanted = teacher.logits.sigmoid()
    trained = targets.owners != IGNORED
    if config.classification == "hard_negatives":
        elements = _with_hard_negatives(output.logits, wanted, positive, trained, config.negatives_per_positive)
    else:
        loss = _varifocal if config.classification == "varifocal" else _quality_focal
        elements = loss(output.logits, wanted, answers, config) * trained.unsqueeze(-1)
    classification = elements.sum() / targets.normaliser

    distillation = zero = output.logits.new_zeros(())
    if teacher is not None and config.distill_weight > 0:
        if config.distillation == "adds":
            soft = teacher.logits[positive].sigmoid()
            apart = F.binary_cross_entropy_with_logits(output.logits[positive], soft, reduction="none").sum(dim=1)
        else:
            its_boxes = decode(teacher.box_codes[positive], targets.anchors)
            apart = config.box_weight * _box_distance(codes, its_boxes, targets.anchors, config.box)
        distillation = config.distill_weight * (targets.weights * apart).sum() / targets.normaliser
        if config.distillation == "replaces":
            return DetectionLosses(zero, zero, distillation + config.distill_weight * classification, zero)
    return DetectionLosses(classification, box, distillation, zero)


def _box_distance(codes: Tensor, wanted: Tensor, anchors: Tensor, kind: BoxLoss) -> Tensor:
    """(P,) how far predicted boxes are from others, of box codes (P, 4), boxes (P, 4) xyxy and anchors (P, 4)."""
    if kind == "smooth_l1":
        return F.smooth_l1_loss(codes, encode(wanted, anchors), reduction="none").sum(dim=1)
    return 1 - generalised_iou(decode(codes, anchors), wanted)[1]


def _varifocal(logits: Tensor, wanted: Tensor, answers: Tensor, config: LossConfig) -> Tensor:
    """Element-wise varifocal loss (VarifocalNet, equation 2).

    Differs from the paper: what is positive is told by `answers`, not by a wanted score above 0. Elsewhere labels want
    0; a teacher that replaces them may want more, and then an entry weighs at least as much, as a positive would.

    Args:
        logits: (B, A, C).
        wanted: (B, A, C) scores to learn.
        answers: (B, A, C) bool, the class entries of the anchors that answer for an object.
        config: weights.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    negative = config.focal_alpha * logits.detach().sigmoid() ** config.focal_gamma
    return torch.where(answers, wanted, torch.maximum(wanted, negative)) * cross_entropy


def _quality_focal(logits: Tensor, wanted: Tensor, answers: Tensor, config: LossConfig) -> Tensor:
    """Element-wise quality focal loss (Generalized Focal Loss, equation 5); arguments as of `_varifocal`."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (logits.detach().sigmoid() - wanted).abs() ** config.focal_gamma * cross_entropy


def _with_hard_negatives(logits: Tensor, wanted: Tensor, positive: Tensor, trained: Tensor, ratio: float) -> Tensor:
    """Cross entropy (B, A) of the positives, and of the negatives that cost most (SSD, section 2.2).

    Args:
        logits: (B, A, C).
        wanted: (B, A, C) scores to learn.
        positive: (B, A) bool.
        trained: (B, A) bool, which are not ignored.
        ratio: negatives taken for each positive of an image; of an image without objects, as for one positive.
    """
    costs = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(dim=-1)
    negative = trained & ~positive
    rank = costs.detach().masked_fill(~negative, -1).argsort(dim=1, descending=True).argsort(dim=1)
    taken = ratio * positive.sum(dim=1, keepdim=True).clamp(min=1)
    return costs * (positive | (negative & (rank < taken)))
