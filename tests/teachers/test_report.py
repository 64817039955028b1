import csv
from pathlib import Path

import pytest
from PIL import Image

from ofa_det.artefacts.records import read_record
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.report import THRESHOLDS, Agreement, TeacherReport, ThresholdRow, agreement
from ofa_det.teachers.run import label_with

from .conftest import FakeTeacher, opened

LEFT, RIGHT, WHOLE = [0, 0, 40, 100], [60, 0, 40, 100], [0, 0, 100, 100]


def agreed(truth: list[tuple[int, list[int], int, bool]], found: list[tuple[int, list[int], int, float]]) -> Agreement:
    """Of two images and two classes: image id, box in pixels, category id, and whether it is ignored or its score."""
    content = {
        "images": [{"id": id_, "width": 100, "height": 100} for id_ in (8, 5)],
        "categories": [{"id": id_, "name": str(id_)} for id_ in (3, 7)],
        "annotations": [
            {"id": number, "image_id": image, "category_id": kind, "bbox": box, "area": 1.0, "iscrowd": int(ignored)}
            for number, (image, box, kind, ignored) in enumerate(truth, start=1)
        ],
    }
    results = [
        {"image_id": image, "category_id": kind, "bbox": box, "score": score} for image, box, kind, score in found
    ]
    return agreement(content, results)


def test_each_object_is_found_once_by_the_best_label_of_its_class() -> None:
    found = [(8, [0, 0, 40, 90], 3, 0.9), (8, LEFT, 3, 0.8), (8, RIGHT, 3, 0.7), (8, RIGHT, 7, 0.3)]
    matches = agreed([(8, LEFT, 3, False), (8, RIGHT, 7, False), (5, RIGHT, 7, False)], found)
    # Right, wrong and missed of the images 8 and 5, in the order of the data set.
    assert matches.by_image(0.5).tolist() == [[1, 2, 1], [0, 0, 1]]
    assert matches.by_image(0.1).tolist() == [[2, 2, 0], [0, 0, 1]]
    assert matches.by_image(0.95).tolist() == [[0, 0, 2], [0, 0, 1]]
    fox = ThresholdRow(category="fox", threshold=0.1, precision=1 / 3, recall=1.0, right=1, wrong=2, missed=0)
    assert matches.row("fox", 0.1, 0) == fox
    none = ThresholdRow(category="all", threshold=0.95, precision=None, recall=0.0, right=0, wrong=0, missed=3)
    assert matches.row("all", 0.95) == none


def test_labels_in_ignored_regions_of_their_class_are_left_out() -> None:
    found = [(8, LEFT, 3, 0.9), (8, RIGHT, 3, 0.8), (8, RIGHT, 7, 0.7)]
    matches = agreed([(8, LEFT, 3, False), (8, WHOLE, 3, True)], found)
    assert matches.labels.tolist() == [0, 1]
    assert matches.right.tolist() == [True, False]
    assert agreed([(8, LEFT, 3, False)], []).by_image(0.1).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert agreed([], found).by_image(0.1).tolist() == [[0, 3, 0], [0, 0, 0]]


def test_more_labels_than_coco_counts() -> None:
    many = [(8, LEFT, 3, 0.5)] * 150
    assert agreed([(8, LEFT, 3, False)], many).by_image(0.1).tolist() == [[1, 149, 0], [0, 0, 0]]


def test_the_report_of_a_teacher_that_finds_all(data_root: Path, tmp_path: Path) -> None:
    data = DataConfig(root=str(data_root))
    config = LabelConfig(teacher="fake", data=data, output=str(tmp_path / "out"))
    report = label_with(opened(FakeTeacher()), open_split(data, "train"), config).report
    assert report is not None
    assert report == read_record(tmp_path / "out/report/report.json", TeacherReport)
    assert pytest.approx(1) == report.metrics.AP
    assert report.known_ap == pytest.approx(1)
    assert {entry.name: entry.AP for entry in report.metrics.classes} == {"other": None, "never": None, "red-thing": 1}
    with (tmp_path / "out/report/thresholds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows[:: len(THRESHOLDS)]] == ["all", "other", "never", "red-thing"]
    # Below 0.1 the fake finds something else in each image.
    assert [float(row["precision"]) for row in rows[1:8]] == [1] * 7
    assert [float(row["recall"]) for row in rows[:8]] == [1] * 8
    assert (rows[9]["recall"], rows[17]["precision"]) == ("", "")
    assert (rows[35]["category"], rows[35]["threshold"]) == ("red-thing", "0.9")
    for name in ("agreements", "disagreements"):
        with Image.open(tmp_path / f"out/report/{name}.jpg") as picture:
            assert picture.width > 400
    assert "AP 100.0, AP50 100.0 on 7 whole images" in report.table()
