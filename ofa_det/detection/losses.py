"""Training losses of one network's output against matched anchors, and against a teacher's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa_det.detection.assignment import IGNORED, MatchedTargets
from ofa_det.detection.box_coder import decode
from ofa_det.detection.boxes import generalised_iou
from ofa_det.detection.detections import DetectorOutput


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the losses.

    Args:
        focal_gamma: exponent by which easy negatives are played down (Focal Loss, equation 4).
        focal_alpha: weight of the negatives; a positive weighs as much as its score should be.
        box_weight: factor of the generalised-IoU loss.
        distill_weight: factor of the losses against the teacher, on matched anchors only (distilling all anchors
            hurts light detectors).
    """

    focal_gamma: float = 2.0
    focal_alpha: float = 0.75
    box_weight: float = 2.0
    distill_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("focal_gamma", "focal_alpha", "box_weight", "distill_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} >= 0, found {getattr(self, name)}")


class DetectionLosses(NamedTuple):
    """Scalar losses, weighted, each per positive anchor of the batch."""

    classification: Tensor
    box: Tensor
    distillation: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.classification + self.box + self.distillation


def detection_losses(
    output: DetectorOutput, targets: MatchedTargets, config: LossConfig, teacher: DetectorOutput | None = None
) -> DetectionLosses:
    """Varifocal and generalised-IoU losses, and with a teacher the distance to it on the positive anchors.

    The score to learn is the IoU of the predicted box with its object, so that better boxes rank higher. It is the
    weight as well: where the box misses its object, the anchor's class is not trained, neither up nor down.

    Args:
        output: of the network that trains.
        targets: what each anchor should give.
        config: weights.
        teacher: output of a stronger network on the same images and anchors.

    Returns:
        Scalar losses; zero boxes in the batch give a box loss of zero.
    """
    positive = targets.positive
    count = positive.sum().clamp(min=1)
    boxes = decode(output.box_codes[positive], targets.anchors)
    iou, overlap = generalised_iou(boxes, targets.boxes)
    box = config.box_weight * (1 - overlap).sum() / count

    one_hot = F.one_hot(targets.classes, output.logits.shape[-1])
    wanted, answers = torch.zeros_like(output.logits), torch.zeros_like(output.logits, dtype=torch.bool)
    wanted[positive], answers[positive] = one_hot * iou.detach().unsqueeze(-1), one_hot.bool()
    trained = (targets.matches != IGNORED).unsqueeze(-1)
    classification = (_varifocal_loss(output.logits, wanted, answers, config) * trained).sum() / count

    distillation = output.logits.new_zeros(())
    if teacher is not None and config.distill_weight > 0:
        soft = teacher.logits[positive].sigmoid()
        _, agreement = generalised_iou(boxes, decode(teacher.box_codes[positive], targets.anchors))
        classes = F.binary_cross_entropy_with_logits(output.logits[positive], soft, reduction="sum")
        distillation = config.distill_weight * (classes + config.box_weight * (1 - agreement).sum()) / count
    return DetectionLosses(classification, box, distillation)


def _varifocal_loss(logits: Tensor, wanted: Tensor, answers: Tensor, config: LossConfig) -> Tensor:
    """Element-wise varifocal loss (VarifocalNet, equation 2).

    Differs from the paper: what is positive is told by `answers`, not by a wanted score above 0.

    Args:
        logits: (B, A, C).
        wanted: (B, A, C) scores to learn.
        answers: (B, A, C) bool, the class entries of the anchors that answer for an object.
        config: weights.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    negative = config.focal_alpha * logits.detach().sigmoid() ** config.focal_gamma
    return torch.where(answers, wanted, negative) * cross_entropy
