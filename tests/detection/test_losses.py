import math

import pytest
import torch

from ofa_det.detection.assignment import BACKGROUND, IGNORED, MatchedTargets
from ofa_det.detection.box_coder import encode
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.losses import LossConfig, detection_losses

ANCHOR = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
BOX = torch.tensor([[0.3, 0.3, 0.7, 0.7]])


def one_positive(matches: list[int]) -> MatchedTargets:
    return MatchedTargets(matches=torch.tensor([matches]), classes=torch.tensor([1]), boxes=BOX, anchors=ANCHOR)


def test_varifocal_loss_by_hand() -> None:
    targets = one_positive([0, BACKGROUND])
    codes = torch.zeros(1, 2, 4)  # the anchor itself, which is the object: IoU 1
    losses = detection_losses(DetectorOutput(codes, torch.zeros(1, 2, 2)), targets, LossConfig())
    # p = 1/2 everywhere: the positive weighs its wanted score 1, each of three negatives 0.75 (1/2)^2, all times ln 2.
    assert losses.classification.item() == pytest.approx((1 + 3 * 0.75 * 0.25) * math.log(2), rel=1e-4)


def test_the_score_to_learn_is_the_iou_of_the_predicted_box() -> None:
    codes = encode(torch.tensor([[0.3, 0.3, 0.5, 0.7]]), ANCHOR)[None]  # half of the object
    logits = torch.zeros(1, 1, 2, requires_grad=True)
    detection_losses(DetectorOutput(codes, logits), one_positive([0]), LossConfig()).classification.backward()
    # At p = 1/2 = IoU the wanted class is where it should be; the other class is pushed down.
    assert logits.grad[0, 0].tolist() == [pytest.approx(0.75 * 0.25 * 0.5, rel=1e-4), pytest.approx(0.0, abs=1e-5)]


def test_a_positive_whose_box_misses_its_object_is_not_background() -> None:
    codes = encode(torch.tensor([[0.8, 0.8, 0.9, 0.9]]), ANCHOR)[None]
    logits = torch.zeros(1, 1, 2, requires_grad=True)
    losses = detection_losses(DetectorOutput(codes, logits), one_positive([0]), LossConfig())
    losses.classification.backward()
    # The class of the object weighs its wanted score, 0; the other class is a negative: 0.75 (1/2)^2 ln 2.
    assert losses.classification.item() == pytest.approx(0.75 * 0.25 * math.log(2), rel=1e-4)
    assert logits.grad[0, 0].tolist() == [pytest.approx(0.75 * 0.25 * 0.5, rel=1e-4), 0.0]
    assert losses.box.item() > 2  # generalised IoU is negative, so the box still learns


def test_ignored_anchors_have_no_classification_loss() -> None:
    logits = torch.tensor([[[-20.0, 20.0], [20.0, 20.0]]])
    losses = detection_losses(DetectorOutput(torch.zeros(1, 2, 4), logits), one_positive([0, IGNORED]), LossConfig())
    assert losses.total.item() == pytest.approx(0.0, abs=1e-5)


def test_box_loss_is_zero_on_the_target_and_grows_away_from_it() -> None:
    codes = encode(BOX, ANCHOR)[None]
    logits = torch.zeros(1, 1, 2)
    right = detection_losses(DetectorOutput(codes, logits), one_positive([0]), LossConfig())
    wrong = detection_losses(DetectorOutput(codes + 2, logits), one_positive([0]), LossConfig())
    assert right.box.item() == pytest.approx(0.0, abs=1e-5)
    assert wrong.box.item() > 0.1


def test_distillation_vanishes_when_the_student_is_the_teacher() -> None:
    sure = DetectorOutput(torch.zeros(1, 1, 4), torch.tensor([[[-20.0, 20.0]]]))
    unsure = DetectorOutput(torch.ones(1, 1, 4), torch.zeros(1, 1, 2))
    targets = one_positive([0])
    assert detection_losses(sure, targets, LossConfig(), sure).distillation.item() == pytest.approx(0.0, abs=1e-5)
    assert detection_losses(unsure, targets, LossConfig(), sure).distillation.item() > 1.0
    assert detection_losses(unsure, targets, LossConfig()).distillation.item() == 0.0


def test_a_batch_without_objects_trains_the_background_alone() -> None:
    logits = torch.zeros(2, 3, 2, requires_grad=True)
    targets = MatchedTargets(
        matches=torch.full((2, 3), BACKGROUND),
        classes=torch.zeros(0, dtype=torch.int64),
        boxes=torch.zeros(0, 4),
        anchors=torch.zeros(0, 4),
    )
    losses = detection_losses(DetectorOutput(torch.zeros(2, 3, 4), logits), targets, LossConfig())
    losses.total.backward()
    assert losses.box.item() == 0.0
    assert losses.classification.item() > 0
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="box_weight >= 0, found -1"):
        LossConfig(box_weight=-1)
