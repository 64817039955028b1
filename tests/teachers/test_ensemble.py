from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.teachers.ensemble import EnsembleTeacher, fuse
from ofa_det.teachers.teacher import TeacherDetections

IMAGE = np.zeros((4, 4, 3), np.uint8)


class Constant:
    """Finds one box in every image."""

    def __init__(self, names: Sequence[str], box: Sequence[float], scores: Sequence[float]) -> None:
        self.categories = tuple(Category(id=number, name=name) for number, name in enumerate(names, 1))
        self._found = TeacherDetections(boxes=np.array([box], np.float32), scores=np.array([scores], np.float32))

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        return [self._found] * len(images)


def test_boxes_are_averaged_by_score_and_scores_over_all_members() -> None:
    """The order of the second's categories is another; the third finds something else."""
    teacher = EnsembleTeacher(
        [
            Constant(["cat", "traffic light"], [0.1, 0.1, 0.5, 0.5], [0.6, 0.2]),
            Constant(["Traffic_Light", "cat"], [0.2, 0.1, 0.5, 0.5], [0.3, 0.2]),
            Constant(["cat", "traffic light"], [0.12, 0.1, 0.5, 0.5], [0.3, 0.0]),
        ]
    )
    assert [category.name for category in teacher.categories] == ["cat", "traffic light"]
    first, second = teacher.detect([IMAGE] * 2)
    assert np.array_equal(first.boxes, second.boxes)
    # cat: (0.6 * 0.1 + 0.3 * 0.12) / 0.9; the second member's best class is another.
    assert first.boxes[0] == pytest.approx([0.96 / 9, 0.1, 0.5, 0.5])
    assert first.scores[0] == pytest.approx([0.9 / 3, 0.2 / 3])
    assert first.scores[1] == pytest.approx([0.2 / 3, 0.3 / 3])


def test_a_cluster_larger_than_the_ensemble_is_a_mean() -> None:
    boxes = np.array([[0.1, 0.1, 0.5, 0.5]] * 3, np.float32)
    found = fuse(boxes, np.array([[0.9], [0.6], [0.3]], np.float32), num_members=2)
    assert found.scores == pytest.approx(np.array([[0.6]]))
    assert len(fuse(boxes[:0], np.zeros((0, 1), np.float32), num_members=2)) == 0


def test_boxes_apart_stay_apart() -> None:
    boxes = np.array([[0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]], np.float32)
    found = fuse(boxes, np.array([[0.4], [0.8]], np.float32), num_members=2)
    assert found.boxes.tolist() == boxes[::-1].tolist()
    assert found.scores == pytest.approx(np.array([[0.4], [0.2]]))


def test_members_of_other_categories_are_refused() -> None:
    members = [Constant(["cat", "dog"], [0, 0, 1, 1], [0.5, 0.5]), Constant(["cat", "cow"], [0, 0, 1, 1], [0.5, 0.5])]
    with pytest.raises(ValueError, match="in teacher 2 of the ensemble, found a difference in cow, dog"):
        EnsembleTeacher(members)
