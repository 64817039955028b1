import logging

import numpy as np
import pytest

from ofa_det.detection.detections import Detections
from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.pictures import ground_truth_detections
from ofa_det.evaluation.scoring import coco_results, score, share_of
from ofa_det.models.ranks import Ranks


class Oracle:
    """Finds exactly what is annotated, in the order in which images come."""

    input_size = (64, 48)

    def __init__(self, dataset, shift_ids=0):
        self._answers = iter([ground_truth_detections(dataset, index) for index in range(len(dataset))])
        self._shift_ids = shift_ids
        self.batches = []

    def predict(self, images):
        self.batches.append(images.shape)
        answers = [next(self._answers) for _ in images]
        return [
            Detections(boxes=a.boxes, scores=a.scores, category_ids=a.category_ids + self._shift_ids) for a in answers
        ]


def test_an_oracle_scores_one(shapes):
    oracle = Oracle(shapes)
    metrics = score(oracle, shapes)
    assert metrics.ap == pytest.approx(1)
    assert metrics.record.images == 26
    assert oracle.batches == [(8, 64, 48, 3)] * 3 + [(2, 64, 48, 3)]


def test_images_that_are_given_are_not_read_again(shapes, monkeypatch):
    batches = [np.zeros((13, 64, 48, 3), np.uint8)] * 2
    monkeypatch.setattr(type(shapes), "image", None)
    oracle = Oracle(shapes)
    assert score(oracle, shapes, batches=batches).ap == pytest.approx(1)
    assert oracle.batches == [(13, 64, 48, 3)] * 2


def test_the_detections_kept_give_the_numbers_reported(shapes):
    metrics = score(Oracle(shapes), shapes)
    assert coco_metrics(shapes.ground_truth(), metrics.results).record == metrics.record


def test_other_categories_are_warned_of(shapes, caplog):
    with caplog.at_level(logging.WARNING):
        metrics = score(Oracle(shapes, shift_ids=1000), shapes)
    assert metrics.ap == 0
    assert "trained on other categories" in caplog.text


def test_boxes_become_pixels_unclipped():
    detections = Detections(
        boxes=np.array([[0.25, 0.5, 1.25, 0.75]], np.float32),
        scores=np.array([0.123456789], np.float32),
        category_ids=np.array([17]),
    )
    assert coco_results(detections, 9, (40, 80)) == [
        {"image_id": 9, "category_id": 17, "bbox": [20, 20, 80, 10], "score": 0.123457}
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_ranks_share_the_batches_of_one(shapes, count):
    parts = [share_of(shapes, Ranks(index=index, count=count)) for index in range(count)]
    wanted = [shapes.image_id(index) for index in range(26)]
    assert [part.image_id(index) for part in parts for index in range(len(part))] == wanted
    assert all(len(part) % 8 == 0 for part in parts[:-1])
