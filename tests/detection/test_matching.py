import torch

from ofa_det.detection.boxes import to_centres
from ofa_det.detection.matching import BACKGROUND, IGNORED, MatcherConfig, match_anchors
from ofa_det.detection.targets import match_batch

NO_CROWD = torch.zeros(0, 4)
CONFIG = MatcherConfig(positive_iou=0.5, ignored_iou=0.4)


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
