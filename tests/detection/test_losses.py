import math
from dataclasses import replace

import pytest
import torch

from ofa_det.detection.box_coder import encode
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.losses import LossConfig, detection_losses
from ofa_det.detection.targets import BACKGROUND, IGNORED, Targets

ANCHOR = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
BOX = torch.tensor([[0.3, 0.3, 0.7, 0.7]])


def one_positive(owners: list[int], score: float = 1.0, normaliser: float | None = None) -> Targets:
    """One anchor answers for an object of class 1."""
    return Targets(
        owners=torch.tensor([owners]),
        classes=torch.tensor([1]),
        boxes=BOX,
        anchors=ANCHOR,
        scores=torch.tensor([score]),
        weights=torch.tensor([score]),
        given_normaliser=normaliser,
    )


def even_chances(anchors: int) -> DetectorOutput:
    """Every anchor gives itself, and 1/2 for both classes."""
    return DetectorOutput(torch.zeros(1, anchors, 4), torch.zeros(1, anchors, 2, requires_grad=True))


def test_varifocal_loss_by_hand() -> None:
    losses = detection_losses(even_chances(2), one_positive([0, BACKGROUND]), LossConfig())
    # p = 1/2 everywhere: the positive weighs its wanted score 1, each of three negatives 0.75 (1/2)^2, all times ln 2.
    assert losses.classification.item() == pytest.approx((1 + 3 * 0.75 * 0.25) * math.log(2), rel=1e-4)


def test_quality_focal_loss_by_hand() -> None:
    losses = detection_losses(
        even_chances(2), one_positive([0, BACKGROUND], score=0.75), LossConfig(classification="quality_focal")
    )
    # Errors 1/4 of the positive and 1/2 of three negatives, squared, all times ln 2 (cross entropy at p = 1/2).
    assert losses.classification.item() == pytest.approx((1 / 16 + 3 / 4) * math.log(2), rel=1e-4)


def test_hard_negatives_by_hand() -> None:
    config = LossConfig(classification="hard_negatives", negatives_per_positive=2)
    logits = torch.full((1, 6, 2), -20.0)
    logits[0, 0, 1], logits[0, 2, 0], logits[0, 4, 0], logits[0, 5, 0] = 0.0, 0.0, 1.0, 30.0
    targets = one_positive([0, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND, IGNORED])
    losses = detection_losses(DetectorOutput(torch.zeros(1, 6, 4), logits), targets, config)
    # The positive costs ln 2; the two worst negatives ln 2 and ln(1 + e); the ignored one, worse still, nothing.
    assert losses.classification.item() == pytest.approx(2 * math.log(2) + math.log(1 + math.e), rel=1e-4)


def test_an_image_without_objects_has_hard_negatives_too() -> None:
    config = LossConfig(classification="hard_negatives", negatives_per_positive=1)
    nothing = replace(
        one_positive([BACKGROUND, BACKGROUND]),
        classes=torch.zeros(0, dtype=torch.int64),
        boxes=torch.zeros(0, 4),
        anchors=torch.zeros(0, 4),
        scores=torch.zeros(0),
        weights=torch.zeros(0),
    )
    losses = detection_losses(even_chances(2), nothing, config)
    assert losses.classification.item() == pytest.approx(2 * math.log(2), rel=1e-4)


def test_losses_are_over_the_normaliser() -> None:
    output, config = even_chances(2), LossConfig()
    codes = torch.ones(1, 2, 4)
    one, four = (
        detection_losses(DetectorOutput(codes, output.logits), one_positive([0, BACKGROUND], 1.0, n), config)
        for n in (1.0, 4.0)
    )
    assert four.classification.item() == pytest.approx(one.classification.item() / 4)
    assert four.box.item() == pytest.approx(one.box.item() / 4)


def test_the_box_loss_is_weighted() -> None:
    output = DetectorOutput(torch.ones(1, 1, 4), torch.zeros(1, 1, 2))
    whole, half = (detection_losses(output, one_positive([0], score), LossConfig()).box.item() for score in (1.0, 0.5))
    assert half == pytest.approx(whole / 2)


def test_the_score_of_the_targets_is_learnt() -> None:
    output = even_chances(1)
    detection_losses(output, one_positive([0], score=0.5), LossConfig()).classification.backward()
    # At p = 1/2 the wanted class is where it should be; the other class is pushed down.
    assert output.logits.grad is not None
    assert output.logits.grad[0, 0].tolist() == [pytest.approx(0.75 * 0.25 * 0.5, rel=1e-4), pytest.approx(0.0)]


def test_varifocal_does_not_push_down_the_class_of_a_worthless_positive() -> None:
    output = even_chances(1)
    losses = detection_losses(output, one_positive([0], score=0.0), LossConfig())
    losses.classification.backward()
    # The class of the object weighs its wanted score, 0; the other class is a negative: 0.75 (1/2)^2 ln 2.
    assert losses.classification.item() == pytest.approx(0.75 * 0.25 * math.log(2), rel=1e-4)
    assert output.logits.grad is not None
    assert output.logits.grad[0, 0].tolist() == [pytest.approx(0.75 * 0.25 * 0.5, rel=1e-4), 0.0]


def test_ignored_anchors_have_no_classification_loss() -> None:
    logits = torch.tensor([[[-20.0, 20.0], [20.0, 20.0]]])
    losses = detection_losses(DetectorOutput(torch.zeros(1, 2, 4), logits), one_positive([0, IGNORED]), LossConfig())
    assert losses.total.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou"])
def test_box_loss_is_zero_on_the_target_and_grows_away_from_it(kind: str) -> None:
    codes = encode(BOX, ANCHOR)[None]
    logits = torch.zeros(1, 1, 2)
    right = detection_losses(DetectorOutput(codes, logits), one_positive([0]), LossConfig(box=kind))
    wrong = detection_losses(DetectorOutput(codes + 2, logits), one_positive([0]), LossConfig(box=kind))
    assert right.box.item() == pytest.approx(0.0, abs=1e-5)
    assert wrong.box.item() > 0.1


def test_smooth_l1_by_hand() -> None:
    codes = encode(BOX, ANCHOR)[None] + torch.tensor([0.5, -3.0, 0.0, 1.0])
    output = DetectorOutput(codes, torch.zeros(1, 1, 2))
    losses = detection_losses(output, one_positive([0]), LossConfig(box="smooth_l1", box_weight=2))
    # A half squared over two; three less a half; nothing; one less a half.
    assert losses.box.item() == pytest.approx(2 * (0.125 + 2.5 + 0.5), rel=1e-4)


def test_giou_loss_by_hand() -> None:
    # A code of 5 log 2 doubles the anchor's width: half of the box is the object, and it is what encloses both.
    codes = torch.tensor([[[0.0, 0.0, 5 * math.log(2), 0.0]]])
    output = DetectorOutput(codes, torch.zeros(1, 1, 2))
    losses = detection_losses(output, one_positive([0]), LossConfig(box="giou", box_weight=3))
    assert losses.box.item() == pytest.approx(3 * 0.5, rel=1e-4)


def test_a_teacher_that_adds_tells_its_scores_and_one_that_replaces_its_boxes_too() -> None:
    teacher = DetectorOutput(torch.tensor([[[0.0, 3.0, 0.0, 0.0]]]), torch.zeros(1, 1, 2))
    config = LossConfig(box="smooth_l1", box_weight=1, distill_weight=2)
    losses = detection_losses(even_chances(1), one_positive([0]), config, teacher)
    # Classes agree, two times ln 2 of cross entropy remain, times the weight.
    assert losses.distillation.item() == pytest.approx(4 * math.log(2), rel=1e-4)
    replacing = replace(config, distillation="replaces", classification="hard_negatives")
    losses = detection_losses(even_chances(1), one_positive([0]), replacing, teacher)
    # The boxes are three apart, less a half.
    assert losses.distillation.item() == pytest.approx(2 * (2.5 + 2 * math.log(2)), rel=1e-4)


def test_the_teacher_replaces_the_labels_by_hand() -> None:
    config = LossConfig(distillation="replaces", distill_weight=0.5, focal_gamma=0.0)
    # The teacher gives the positive 1/2 and moves no box; the student gives 1/2 everywhere, and the anchor itself.
    teacher = DetectorOutput(torch.zeros(1, 2, 4), torch.zeros(1, 2, 2))
    losses = detection_losses(even_chances(2), one_positive([0, BACKGROUND]), config, teacher)
    # Cross entropy of 1/2 with 1/2 is ln 2: the positive weighs the teacher's 1/2, each of three others 0.75.
    assert losses.distillation.item() == pytest.approx(0.5 * (0.5 + 3 * 0.75) * math.log(2), rel=1e-4)
    assert (losses.classification, losses.box) == (0, 0)
    # Whoever has no teacher, such as the teacher itself, learns from the labels.
    alone = detection_losses(even_chances(2), one_positive([0, BACKGROUND]), config)
    assert alone == detection_losses(
        even_chances(2), one_positive([0, BACKGROUND]), replace(config, distillation="adds")
    )


def test_a_teacher_that_sees_an_object_where_no_anchor_is_matched_is_heard() -> None:
    """With varifocal, where an unmatched anchor that the student gives little would weigh next to nothing."""
    config = LossConfig(distillation="replaces")
    student = torch.full((1, 2, 2), -20.0)
    student[0, 1, 0] = math.log(0.1 / 0.9)
    student.requires_grad_()
    sure = torch.full((1, 2, 2), -20.0)
    sure[0, 1, 0] = math.log(0.8 / 0.2)
    codes = torch.zeros(1, 2, 4)
    targets = one_positive([0, BACKGROUND])
    loss = detection_losses(DetectorOutput(codes, student), targets, config, DetectorOutput(codes, sure)).total
    # It weighs the 0.8 that the teacher gives it, more than 0.75 (0.1)^2, times the cross entropy of 0.8 and 0.1.
    assert loss.item() == pytest.approx(-0.8 * (0.8 * math.log(0.1) + 0.2 * math.log(0.9)), rel=1e-4)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient[0, 1, 0].item() == pytest.approx(0.8 * (0.1 - 0.8), rel=1e-4)
    # A teacher that gives less than the weight of a negative changes it no more than labels do.
    unsure = torch.full((1, 2, 2), -20.0)
    student = torch.full((1, 2, 2), -20.0)
    student[0, 1, 0], unsure[0, 1, 0] = 0.0, math.log(0.1 / 0.9)
    loss = detection_losses(DetectorOutput(codes, student), targets, config, DetectorOutput(codes, unsure)).total
    assert loss.item() == pytest.approx(0.75 * 0.25 * math.log(2), rel=1e-4)


@pytest.mark.parametrize("kind", ["varifocal", "quality_focal", "hard_negatives"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(kind: str) -> None:
    torch.manual_seed(0)
    config = LossConfig(classification=kind, distillation="replaces")
    codes, logits = torch.randn(1, 3, 4, requires_grad=True), torch.randn(1, 3, 2, requires_grad=True)
    teacher = DetectorOutput(codes.detach(), logits.detach())
    targets = one_positive([0, BACKGROUND, IGNORED])
    detection_losses(DetectorOutput(codes, logits), targets, config, teacher).total.backward()
    assert logits.grad.abs().max() < 1e-6
    apart = DetectorOutput(codes, logits + 1)
    (gradient,) = torch.autograd.grad(detection_losses(apart, targets, config, teacher).total, logits)
    assert gradient[0, :2].min() > 0
    assert gradient[0, 2].abs().max() == 0


def test_mistakes_about_the_teacher_are_named() -> None:
    with pytest.raises(ValueError, match="distillation to be adds or replaces, found 'instead'"):
        LossConfig(distillation="instead")
    with pytest.raises(ValueError, match="distill_weight > 0 where distillation replaces the labels, found 0"):
        LossConfig(distillation="replaces", distill_weight=0)


def test_distillation_vanishes_when_the_student_is_the_teacher() -> None:
    sure = DetectorOutput(torch.zeros(1, 1, 4), torch.tensor([[[-20.0, 20.0]]]))
    unsure = DetectorOutput(torch.ones(1, 1, 4), torch.zeros(1, 1, 2))
    targets = one_positive([0])
    assert detection_losses(sure, targets, LossConfig(), sure).distillation.item() == pytest.approx(0.0, abs=1e-5)
    assert detection_losses(unsure, targets, LossConfig(), sure).distillation.item() > 1.0
    assert detection_losses(unsure, targets, LossConfig()).distillation.item() == 0.0


def test_a_batch_without_objects_trains_the_background_alone() -> None:
    logits = torch.zeros(2, 3, 2, requires_grad=True)
    targets = Targets(
        owners=torch.full((2, 3), BACKGROUND),
        classes=torch.zeros(0, dtype=torch.int64),
        boxes=torch.zeros(0, 4),
        anchors=torch.zeros(0, 4),
        scores=torch.zeros(0),
        weights=torch.zeros(0),
    )
    losses = detection_losses(DetectorOutput(torch.zeros(2, 3, 4), logits), targets, LossConfig())
    losses.total.backward()
    assert losses.box.item() == 0.0
    assert losses.classification.item() > 0
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="varifocal, quality_focal, hard_negatives, found 'focal'"):
        LossConfig(classification="focal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="box loss of giou, smooth_l1, found 'l1'"):
        LossConfig(box="l1")  # type: ignore[arg-type]


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="box_weight >= 0, found -1"):
        LossConfig(box_weight=-1)
