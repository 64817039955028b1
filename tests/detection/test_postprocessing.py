import torch

from ofa_det.arch.description import PostProcessConfig
from ofa_det.detection.postprocessing import postprocess

BOXES = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.48], [0.5, 0.5, 1.0, 1.0]])
SCORES = torch.tensor([[0.9, 0.2], [0.8, 0.7], [0.3, 0.05]])


def test_regular_suppression_is_class_by_class() -> None:
    boxes, scores, labels = postprocess(BOXES, SCORES, PostProcessConfig(score_threshold=0.1))
    assert list(zip(scores.tolist(), labels.tolist(), strict=True)) == [
        (0.8999999761581421, 0),
        (0.699999988079071, 1),
        (0.30000001192092896, 0),
    ]
    torch.testing.assert_close(boxes, BOXES[[0, 1, 2]])


def test_fast_suppression_takes_each_anchor_once() -> None:
    _, scores, labels = postprocess(BOXES, SCORES, PostProcessConfig(score_threshold=0.1, regular_nms=False))
    assert labels.tolist() == [0, 0]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.3]))


def test_limits_for_a_class_and_in_all() -> None:
    apart = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.2, 0.2, 0.3, 0.3], [0.4, 0.4, 0.5, 0.5]])
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.6], [0.7, 0.5]])
    one_each = PostProcessConfig(score_threshold=0.2, detections_per_class=1)
    assert postprocess(apart, scores, one_each)[2].tolist() == [0, 1]
    two = PostProcessConfig(score_threshold=0.2, max_detections=2)
    torch.testing.assert_close(postprocess(apart, scores, two)[1], torch.tensor([0.9, 0.8]))


def test_nothing_above_the_threshold() -> None:
    boxes, scores, labels = postprocess(BOXES, SCORES * 0, PostProcessConfig(score_threshold=0.1))
    assert boxes.shape == (0, 4)
    assert len(scores) == len(labels) == 0
