import logging

import numpy as np
import pytest

from ofa_det.arch.classes import Category
from ofa_det.teachers.mapping import map_categories
from ofa_det.teachers.teacher import TeacherDetections


def categories(*names: str) -> tuple[Category, ...]:
    return tuple(Category(id=10 * number, name=name) for number, name in enumerate(names, 1))


TEACHER = categories("traffic light", "Car", "truck", "sheep")
DATASET = categories("vehicle", "TRAFFIC_LIGHT", "tree")


def test_names_are_matched_and_what_has_no_counterpart_is_told(caplog: pytest.LogCaptureFixture) -> None:
    mapping = map_categories(TEACHER, DATASET, {"car": "Vehicle", "truck": "vehicle"})
    assert mapping.categories == DATASET
    assert mapping.columns == ((1, 2), (0,), ())
    assert mapping.dropped == ("sheep",)
    assert mapping.missing == ("tree",)
    with caplog.at_level(logging.INFO, logger="ofa_det"):
        mapping.log()
    assert "the teacher knows 2 of 3 categories" in caplog.text
    assert "left out, since the data set has none of that name: sheep" in caplog.text
    assert "categories that the teacher never labels: tree" in caplog.text


def test_scores_move_to_their_categories_and_boxes_without_any_are_dropped() -> None:
    mapping = map_categories(TEACHER, DATASET, {"car": "vehicle", "truck": "vehicle"})
    box, other = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
    found = mapping.apply(
        TeacherDetections(
            boxes=np.array([box, box, other, other], np.float32),
            scores=np.array([[0, 0.7, 0.2, 0], [0.1, 0, 0.6, 0], [0, 0, 0, 0.9], [0.3, 0, 0, 0.5]], np.float32),
        )
    )
    # Car and truck are one category now, so that one of their boxes suppresses the other.
    assert found.boxes.tolist() == np.array([box, other], np.float32).tolist()
    assert found.scores == pytest.approx(np.array([[0.7, 0, 0], [0, 0.3, 0]]))
    assert (
        len(mapping.apply(TeacherDetections(boxes=np.zeros((0, 4), np.float32), scores=np.zeros((0, 4), np.float32))))
        == 0
    )


@pytest.mark.parametrize(
    ("dataset", "aliases", "message"),
    [
        (categories("cell"), {}, "that teacher and data set share, found traffic light, .* and cell; pass --aliases"),
        (DATASET, {"lorry": "vehicle"}, "aliases of the teacher's categories .*, found 'lorry'"),
        (DATASET, {"car": "wheels"}, "aliases of the data set's categories .*, found 'wheels'"),
        (categories("Cell", "cell"), {}, "categories of different names in the data set, found Cell, cell"),
    ],
)
def test_what_cannot_be_matched_is_refused(
    dataset: tuple[Category, ...], aliases: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        map_categories(TEACHER, dataset, aliases)
