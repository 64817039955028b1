import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert

from ofa_det.detection.assignment import BACKGROUND, IGNORED, MatcherConfig, match_anchors, match_batch

NONE = torch.zeros(0, 4)
CONFIG = MatcherConfig(positive_iou=0.5, ignored_iou=0.4, best_anchors=1)


def to_centres(corners: Tensor) -> Tensor:
    return box_convert(corners, "xyxy", "cxcywh")


def test_positive_ignored_and_background() -> None:
    # IoU with the box: 0.6, 0.45, 0.1.
    corners = torch.tensor([[0.0, 0.0, 0.6, 1.0], [0.0, 0.0, 0.45, 1.0], [0.0, 0.0, 0.1, 1.0]])
    matches = match_anchors(to_centres(corners), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), NONE, CONFIG)
    assert matches.tolist() == [0, IGNORED, BACKGROUND]


def test_every_object_gets_its_best_anchor_however_weak() -> None:
    anchors = to_centres(torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]))
    boxes = torch.tensor([[0.1, 0.1, 0.2, 0.2], [0.6, 0.6, 0.65, 0.65]])
    assert match_anchors(anchors, boxes, NONE, CONFIG).tolist() == [0, 1]


def test_two_objects_that_want_one_anchor() -> None:
    anchors = to_centres(torch.tensor([[0.0, 0.0, 0.5, 0.5]]))
    boxes = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.0, 0.0, 0.3, 0.3]])
    assert match_anchors(anchors, boxes, NONE, CONFIG).tolist() == [1]


def test_anchors_inside_an_ignored_region_are_not_background() -> None:
    # Inside, by half, by less than half, outside.
    corners = [[0.6, 0.6, 0.9, 0.9], [0.4, 0.6, 0.6, 0.8], [0.3, 0.6, 0.6, 0.8], [0.0, 0.0, 0.2, 0.2]]
    region = torch.tensor([[0.5, 0.5, 1.0, 1.0]])
    found = match_anchors(to_centres(torch.tensor(corners)), NONE, region, CONFIG)
    assert found.tolist() == [IGNORED, IGNORED, BACKGROUND, BACKGROUND]


def test_an_object_in_an_ignored_region_has_its_anchors() -> None:
    anchors = to_centres(torch.tensor([[0.6, 0.6, 0.9, 0.9], [0.5, 0.5, 0.7, 0.7]]))
    region, box = torch.tensor([[0.5, 0.5, 1.0, 1.0]]), torch.tensor([[0.6, 0.6, 0.9, 0.9]])
    assert match_anchors(anchors, box, region, CONFIG).tolist() == [0, IGNORED]


def test_a_batch_lines_up_targets_with_positive_anchors() -> None:
    anchors = to_centres(torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]))
    boxes = (torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]), torch.zeros(0, 4))
    labels = (torch.tensor([7, 3]), torch.zeros(0, dtype=torch.int64))
    targets = match_batch(anchors, boxes, labels, (NONE, NONE), CONFIG)
    assert targets.positive.tolist() == [[True, True], [False, False]]
    assert targets.classes.tolist() == [3, 7]
    torch.testing.assert_close(targets.boxes, boxes[0][[1, 0]])
    torch.testing.assert_close(targets.anchors, anchors)


def test_an_object_smaller_than_a_cell_gets_as_many_anchors_as_asked_for() -> None:
    x = torch.linspace(0.05, 0.95, 10)
    anchors = torch.stack((x, torch.full((10,), 0.5), torch.full((10,), 0.12), torch.full((10,), 0.12)), dim=1)
    box = torch.tensor([[0.49, 0.48, 0.53, 0.52]])
    assert (match_anchors(anchors, box, NONE, CONFIG) == 0).sum() == 1
    three = MatcherConfig(positive_iou=0.5, ignored_iou=0.4, best_anchors=3)
    # The anchors centred at 0.45, 0.55 overlap the object; of the others, which do not, one is taken.
    matches = match_anchors(anchors, box, NONE, three)
    assert matches[[4, 5]].tolist() == [0, 0]
    assert (matches == 0).sum() == 3


@pytest.mark.parametrize(
    ("mistake", "name"),
    [
        ({"positive_iou": 0.4}, "positive_iou"),
        ({"ignored_iou": 0.0}, "ignored_iou"),
        ({"best_anchors": 0}, "best_anchors"),
    ],
)
def test_mistakes_are_named(mistake: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        MatcherConfig(**mistake)
