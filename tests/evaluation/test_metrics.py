import copy

import pytest

from ofa_det.evaluation.metrics import NAMES, coco_metrics


def truth(*annotations, images=1):
    return {
        "images": [{"id": number + 1, "width": 640, "height": 480} for number in range(images)],
        "categories": [{"id": 3, "name": "cell"}, {"id": 90, "name": "brush"}],
        "annotations": [
            {
                "id": number + 1,
                "image_id": 1,
                "category_id": 3,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": crowd,
            }
            for number, (box, crowd) in enumerate(annotations)
        ],
    }


def detection(box, score, category_id=3, image_id=1):
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


LEFT, MIDDLE, CROWD = [0, 0, 100, 100], [200, 0, 100, 100], [0, 200, 200, 200]


def test_hand_computed_average_precision_with_a_crowd():
    """By score: a hit, one within the crowd (ignored), a miss, a hit of IoU 0.82 (so at 7 of the 10 thresholds).

    At those 7: precision 1 up to recall 0.5 (51 of 101 points), 2/3 up to recall 1 (50 points). At the other 3 only
    the first 51 points.
    """
    metrics = coco_metrics(
        truth((LEFT, 0), (MIDDLE, 0), (CROWD, 1)),
        [
            detection(LEFT, 0.9),
            detection([20, 220, 50, 50], 0.8),
            detection([500, 300, 100, 100], 0.75),
            detection([200, 0, 82, 100], 0.7),
        ],
    )
    ap50 = (51 + 50 * 2 / 3) / 101
    ap = (7 * ap50 + 3 * 51 / 101) / 10
    assert metrics.ap50 == pytest.approx(ap50)
    assert pytest.approx(ap50) == metrics.record.AP75
    assert metrics.ap == pytest.approx(ap)
    assert metrics.record.APl == pytest.approx(ap)
    assert metrics.record.APs is None
    assert pytest.approx(0.5) == metrics.record.AR1
    assert pytest.approx((7 * 1 + 3 * 0.5) / 10) == metrics.record.AR100
    assert [(entry.id, entry.name) for entry in metrics.record.classes] == [(3, "cell"), (90, "brush")]
    assert pytest.approx(ap) == metrics.record.classes[0].AP
    assert metrics.record.classes[1].AP is None


def test_without_its_crowd_flag_the_same_box_counts_as_missed():
    detections = [detection(LEFT, 0.9), detection([20, 220, 50, 50], 0.8)]
    with_flag = coco_metrics(truth((LEFT, 0), (CROWD, 1)), detections)
    without = coco_metrics(truth((LEFT, 0), (CROWD, 0)), detections)
    assert with_flag.ap == pytest.approx(1)
    assert without.ap == pytest.approx(51 / 101)


def test_no_detections_score_zero():
    metrics = coco_metrics(truth((LEFT, 0)), [])
    assert metrics.ap == metrics.record.AR100 == 0
    assert metrics.record.APs is None


def test_detections_of_unknown_categories_are_ignored():
    assert coco_metrics(truth((LEFT, 0)), [detection(LEFT, 0.5), detection(LEFT, 0.9, category_id=4)]).ap == (
        pytest.approx(1)
    )


@pytest.mark.parametrize("annotations", [(), ((CROWD, 1),)])
def test_nothing_to_find_is_refused(annotations):
    with pytest.raises(ValueError, match="expected annotated objects to evaluate on, found none in 1 images"):
        coco_metrics(truth(*annotations), [])


def test_detections_on_unknown_images_are_refused():
    with pytest.raises(ValueError, match="found image 8"):
        coco_metrics(truth((LEFT, 0)), [detection(LEFT, 0.5, image_id=8)])


def test_arguments_are_not_changed_and_nothing_is_printed(capsys):
    ground_truth, results = truth((LEFT, 0)), [detection(LEFT, 0.5)]
    before = copy.deepcopy((ground_truth, results))
    coco_metrics(ground_truth, results)
    assert (ground_truth, results) == before
    assert capsys.readouterr().out == ""


def test_the_record_counts_and_the_table_shows():
    metrics = coco_metrics(truth((LEFT, 0), images=2), [detection(LEFT, 0.5)])
    assert (metrics.record.images, metrics.record.detections) == (2, 1)
    lines = metrics.table().splitlines()
    assert lines[0].split() == list(NAMES)
    assert lines[1].split()[0] == "100.0"
    assert lines[-1].split() == ["brush", "-"]
