import numpy as np
import pytest

from ofa_det.teachers.coco_categories import COCO_CATEGORIES, coco_classes
from ofa_det.teachers.teacher import MAX_DETECTIONS, MIN_SCORE, suppressed


def test_coco_categories_are_the_80_with_gaps() -> None:
    assert len(COCO_CATEGORIES) == 80
    by_id = {category.id: category.name for category in COCO_CATEGORIES}
    assert (by_id[1], by_id[13], by_id[44], by_id[90]) == ("person", "stop sign", "bottle", "toothbrush")
    assert 12 not in by_id
    assert list(by_id) == sorted(by_id)


def test_classes_of_coco_by_their_number() -> None:
    for count, toothbrush, person in ((80, 79, 0), (90, 89, 0), (91, 90, 1)):
        classes = coco_classes(count)
        assert classes is not None
        assert len(classes) == count
        assert (classes[person], classes[toothbrush]) == (COCO_CATEGORIES[0], COCO_CATEGORIES[-1])
        assert sum(category is not None for category in classes) == 80
    assert coco_classes(20) is None


def test_boxes_of_one_best_class_are_suppressed() -> None:
    box = [0.1, 0.1, 0.5, 0.5]
    boxes = np.array([box, box, [0.12, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]], np.float32)
    scores = np.array([[0.5, 0.2], [0.3, 0.6], [0.8, 0.7], [0.02, 0.01]], np.float32)
    found = suppressed(boxes, scores)
    assert found.boxes.tolist() == boxes[[2, 1, 3]].tolist()
    assert found.scores.tolist() == scores[[2, 1, 3]].tolist()


def test_boxes_are_clipped_and_those_without_extent_or_score_left_out() -> None:
    boxes = np.array(
        [[-0.5, 0.2, 0.5, 1.5], [1.1, 0, 1.5, 1], [0.5, 0.5, 0.5, 0.9], [np.nan] * 4, [0, 0, 1, 1]], np.float32
    )
    scores = np.array([[0.5], [0.9], [0.9], [0.9], [MIN_SCORE / 2]], np.float32)
    found = suppressed(boxes, scores)
    assert found.boxes == pytest.approx(np.array([[0, 0.2, 0.5, 1]]))
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert len(suppressed(boxes[:0], scores[:0])) == 0


def test_the_best_are_kept_where_there_are_many() -> None:
    left = np.linspace(0, 0.99, MAX_DETECTIONS + 20)
    boxes = np.stack([left, 0 * left, left + 0.001, 0 * left + 1], axis=1).astype(np.float32)
    scores = np.linspace(0.1, 0.9, len(left), dtype=np.float32)[:, None]
    found = suppressed(boxes, scores)
    assert found.scores[:, 0].tolist() == scores[::-1, 0][:MAX_DETECTIONS].tolist()
