import pytest
import torch

from ofa_det.detection.boxes import area, generalised_iou, pairwise_intersection, pairwise_iou, to_corners

FIRST = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.7]])
SECOND = torch.tensor([[0.2, 0.2, 0.6, 0.6], [0.5, 0.5, 0.9, 0.7]])


def test_area_of_an_inverted_box_is_zero() -> None:
    assert area(torch.tensor([[0.1, 0.1, 0.3, 0.6], [0.5, 0.5, 0.4, 0.9]])).tolist() == pytest.approx([0.1, 0.0])


def test_iou_by_hand() -> None:
    # 0.2 x 0.2 common of 0.16 + 0.16 - 0.04; the second boxes are equal.
    assert pairwise_iou(FIRST, SECOND).diagonal().tolist() == pytest.approx([0.04 / 0.28, 1.0])
    assert pairwise_intersection(FIRST, SECOND)[0, 0].item() == pytest.approx(0.04)


def test_generalised_iou_by_hand() -> None:
    iou, generalised = generalised_iou(FIRST, SECOND)
    assert iou.tolist() == pytest.approx([0.04 / 0.28, 1.0])
    # The hull of the first pair is 0.6 x 0.6.
    assert generalised.tolist() == pytest.approx([0.04 / 0.28 - (0.36 - 0.28) / 0.36, 1.0], abs=1e-6)


def test_disjoint_boxes_have_a_negative_generalised_iou_with_a_gradient() -> None:
    box = torch.tensor([[0.0, 0.0, 0.1, 0.1]], requires_grad=True)
    _, generalised = generalised_iou(box, torch.tensor([[0.5, 0.5, 0.6, 0.6]]))
    generalised.sum().backward()
    assert generalised.item() < 0
    assert box.grad is not None
    assert box.grad.abs().sum() > 0


def test_corners_by_hand() -> None:
    torch.testing.assert_close(to_corners(torch.tensor([[0.2, 0.2, 0.4, 0.4], [0.7, 0.6, 0.4, 0.2]])), FIRST)


def test_no_boxes() -> None:
    empty = torch.zeros(0, 4)
    assert pairwise_iou(empty, FIRST).shape == (0, 2)
    assert generalised_iou(empty, empty)[0].shape == (0,)
