import torch

from ofa_det.detection.boxes import to_centres
from ofa_det.detection.matching import BACKGROUND, IGNORED, MatcherConfig, match_anchors
from ofa_det.detection.targets import match_batch

NO_CROWD = torch.zeros(0, 4)
CONFIG = MatcherConfig(positive_iou=0.5, ignored_iou=0.4, best_anchors=1)


def test_positive_ignored_and_background():
    # IoU with the box: 0.6, 0.45, 0.1.
    corners = torch.tensor([[0.0, 0.0, 0.6, 1.0], [0.0, 0.0, 0.45, 1.0], [0.0, 0.0, 0.1, 1.0]])
    matches = match_anchors(to_centres(corners), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), NO_CROWD, CONFIG)
    assert matches.tolist() == [0, IGNORED, BACKGROUND]


def test_every_object_gets_its_best_anchor_however_weak():
    anchors = to_centres(torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]))
    boxes = torch.tensor([[0.1, 0.1, 0.2, 0.2], [0.6, 0.6, 0.65, 0.65]])
    assert match_anchors(anchors, boxes, NO_CROWD, CONFIG).tolist() == [0, 1]


def test_two_objects_that_want_one_anchor():
    anchors = to_centres(torch.tensor([[0.0, 0.0, 0.5, 0.5]]))
    boxes = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.0, 0.0, 0.3, 0.3]])
    assert match_anchors(anchors, boxes, NO_CROWD, CONFIG).tolist() == [1]


def test_anchors_inside_a_crowd_are_not_background():
    anchors = to_centres(torch.tensor([[0.0, 0.0, 0.2, 0.2], [0.6, 0.6, 0.9, 0.9]]))
    crowd = torch.tensor([[0.5, 0.5, 1.0, 1.0]])
    assert match_anchors(anchors, torch.zeros(0, 4), crowd, CONFIG).tolist() == [BACKGROUND, IGNORED]


def test_a_batch_lines_up_targets_with_positive_anchors():
    anchors = to_centres(torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]))
    boxes = (torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]), torch.zeros(0, 4))
    labels = (torch.tensor([7, 3]), torch.zeros(0, dtype=torch.int64))
    targets = match_batch(anchors, boxes, labels, (NO_CROWD, NO_CROWD), CONFIG)
    assert targets.positive.tolist() == [[True, True], [False, False]]
    assert targets.classes.tolist() == [3, 7]
    torch.testing.assert_close(targets.boxes, boxes[0][[1, 0]])
    torch.testing.assert_close(targets.anchors, anchors)


def test_an_object_smaller_than_a_cell_gets_as_many_anchors_as_asked_for():
    x = torch.linspace(0.05, 0.95, 10)
    anchors = torch.stack((x, torch.full((10,), 0.5), torch.full((10,), 0.12), torch.full((10,), 0.12)), dim=1)
    box = torch.tensor([[0.49, 0.48, 0.53, 0.52]])
    assert (match_anchors(anchors, box, NO_CROWD, CONFIG) == 0).sum() == 1
    three = MatcherConfig(positive_iou=0.5, ignored_iou=0.4, best_anchors=3)
    # The anchors centred at 0.45, 0.55 overlap the object; of the others, which do not, one is taken.
    matches = match_anchors(anchors, box, NO_CROWD, three)
    assert matches[[4, 5]].tolist() == [0, 0]
    assert (matches == 0).sum() == 3
