"""What a teacher's boxes change in annotations."""

import numpy as np
import pytest

from ofa_det.data.annotations import Annotations
from ofa_det.data.teaching import TeachingConfig, taught

NO_BOXES, NO_SCORES = np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32)


def _annotations(boxes, labels, ignored=None):
    ignored = np.zeros(len(labels), np.bool_) if ignored is None else np.array(ignored)
    return Annotations(
        boxes=np.array(boxes, np.float32).reshape(-1, 4), labels=np.array(labels, np.int64), ignored=ignored
    )


def _teacher(*rows):
    rows = np.array(rows, np.float32)
    return rows[:, :4], rows[:, 4:]


def test_an_object_learns_a_mixture_of_label_and_teacher():
    boxes, scores = _teacher([0.0, 0.0, 0.5, 0.5, 0.2, 0.6])
    found = taught(
        _annotations([[0, 0, 0.5, 0.5]], [1]), boxes, scores, TeachingConfig(class_share=0.25), labelled=True
    )
    np.testing.assert_allclose(found.class_scores, [[0.05, 0.9]], atol=1e-6)
    assert found.labels.tolist() == [1]


def test_a_box_moves_towards_the_teachers_by_their_iou():
    boxes, scores = _teacher([0.0, 0.0, 0.8, 1.0, 0.0, 1.0])
    found = taught(_annotations([[0, 0, 1, 1]], [1]), boxes, scores, TeachingConfig(box_share=0.5), labelled=True)
    np.testing.assert_allclose(found.boxes, [[0, 0, 1 - 0.5 * 0.8 * 0.2, 1]], atol=1e-6)


def test_only_the_best_pair_matches():
    boxes, scores = _teacher([0, 0, 0.5, 0.45, 0.0, 0.9], [0, 0, 0.5, 0.5, 0.0, 0.4])
    found = taught(_annotations([[0, 0, 0.5, 0.5]], [1]), boxes, scores, TeachingConfig(class_share=1), labelled=True)
    np.testing.assert_allclose(found.class_scores, [[0, 0.4]], atol=1e-6)  # The other is neither object nor ignored.


def test_what_the_teacher_misses_keeps_its_label():
    found = taught(_annotations([[0, 0, 0.5, 0.5]], [0]), NO_BOXES, NO_SCORES, TeachingConfig(), labelled=True)
    np.testing.assert_array_equal(found.class_scores, [[1, 0]])


@pytest.mark.parametrize(("labelled", "objects", "ignored"), [(False, 1, 1), (True, 0, 2)])
def test_boxes_of_its_own_are_objects_where_nobody_has_annotated_else_ignored(labelled, objects, ignored):
    boxes, scores = _teacher(
        [0.6, 0.6, 0.9, 0.9, 0.7, 0.1], [0.1, 0.6, 0.3, 0.9, 0.2, 0.1], [0.6, 0.1, 0.9, 0.2, 0, 0.1]
    )
    config = TeachingConfig(object_score=0.5, ignore_score=0.15)
    found = taught(Annotations.none(), boxes, scores, config, labelled=labelled)
    assert (~found.ignored).sum() == objects
    assert found.ignored.sum() == ignored
    assert found.labels[0] == 0
    assert found.class_scores[0].tolist() == pytest.approx([0.7, 0.1])


def test_boxes_in_a_crowd_are_left_out():
    boxes, scores = _teacher([0.0, 0.0, 0.2, 0.2, 0.9, 0.0])
    crowd = _annotations([[0, 0, 0.5, 0.5]], [0], [True])
    assert len(taught(crowd, boxes, scores, TeachingConfig(), labelled=False)) == 1


def test_nothing_at_all():
    found = taught(Annotations.none(), NO_BOXES, NO_SCORES, TeachingConfig(), labelled=False)
    assert len(found) == 0
    assert found.class_scores.shape == (0, 2)


def test_shares_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="class_share"):
        TeachingConfig(class_share=1.5)
    with pytest.raises(ValueError, match="object_score"):
        TeachingConfig(object_score=0)
