import numpy as np
import pytest

from ofa_det.data.annotations import Annotations
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.report.errors import IGNORED, NOTHING, Found, best_threshold, find_errors, match

LEFT, RIGHT = [0.0, 0.0, 0.4, 0.4], [0.6, 0.6, 1.0, 1.0]


def annotated(boxes, labels, ignored=None):
    return Annotations(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        ignored=np.array(ignored if ignored is not None else [False] * len(labels), np.bool_),
    )


def matched(truth, boxes, labels):
    return match(truth, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)).tolist()


def test_each_object_is_met_once_by_the_surest():
    assert matched(annotated([LEFT, RIGHT], [0, 1]), [LEFT, LEFT, RIGHT], [0, 0, 1]) == [0, NOTHING, 1]


def test_an_object_of_the_own_class_goes_before_a_better_placed_one():
    near = [0.0, 0.0, 0.4, 0.38]
    assert matched(annotated([LEFT, near], [0, 1]), [LEFT, LEFT], [1, 0]) == [1, 0]
    assert matched(annotated([LEFT, near], [0, 0]), [LEFT], [1]) == [0]


def test_a_badly_placed_detection_meets_nothing_and_a_crowd_counts_for_nothing():
    truth = annotated([LEFT, RIGHT], [0, 0], [False, True])
    assert matched(truth, [[0.2, 0.2, 0.6, 0.6], [0.7, 0.7, 0.8, 0.8]], [0, 0]) == [NOTHING, IGNORED]
    assert matched(annotated([], []), [LEFT], [0]) == [NOTHING]


def test_the_threshold_is_where_precision_and_recall_are_together_best():
    """At 0.05: 2 right of 4, F1 4/6; above 0.35, 2 right of 3, F1 4/5; above 0.5, 1 of 1, F1 2/3."""
    found = Found(
        boxes=np.zeros((4, 4), np.float32),
        labels=np.array([0, 0, 0, 0]),
        scores=np.array([0.9, 0.5, 0.45, 0.3]),
        matches=np.array([0, NOTHING, 1, NOTHING]),
    )
    threshold, precision, recall = best_threshold([found], [annotated([LEFT, RIGHT], [0, 0])])
    assert threshold == 0.35
    assert (precision, recall) == (pytest.approx(2 / 3), 1.0)


def test_confusion_of_a_data_set_whose_every_object_is_known(tiny_root):
    dataset = open_split(DataConfig(root=str(tiny_root)), "val")
    truth = dataset.ground_truth()
    ids = [category.id for category in dataset.categories]
    objects = [entry for entry in truth["annotations"] if not entry["iscrowd"]]
    results = [
        {"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": entry["bbox"], "score": 0.9}
        for entry in objects
    ]
    swapped = next(id_ for id_ in ids if id_ != objects[0]["category_id"])
    results[0]["category_id"] = swapped
    lost = results.pop()
    results.append({**lost, "bbox": [0, 0, 1, 1]})
    errors, _ = find_errors(dataset, results, detections_sha256="abc")
    confusion = np.array(errors.confusion)
    names = [category.name for category in dataset.categories]
    assert errors.classes == tuple(names)
    assert np.trace(confusion) == len(objects) - 2
    assert confusion[ids.index(objects[0]["category_id"]), ids.index(swapped)] == 1
    assert confusion[ids.index(lost["category_id"]), -1] == 1
    assert confusion[-1, ids.index(lost["category_id"])] == 1
    assert confusion.sum() == len(objects) + 1
    assert sum(image.missed for image in errors.worst) == sum(image.false for image in errors.worst) == 1
    assert sum(image.confused for image in errors.worst) == 1
    assert errors.worst[0].count >= errors.worst[-1].count
