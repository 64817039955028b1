import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa_det.artefacts.records import read_record
from ofa_det.data.annotations import Annotations
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.label_file import StoredDetections
from ofa_det.teachers.report import THRESHOLDS, TeacherReport, match
from ofa_det.teachers.run import label_with

from .conftest import FakeTeacher, opened


def found(*rows: tuple[list[float], int, float]) -> StoredDetections:
    return StoredDetections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([[label] for _, label, _ in rows], np.int64).reshape(-1, 1),
        np.array([[score] for _, _, score in rows], np.float32).reshape(-1, 1),
    )


LEFT, RIGHT = [0.0, 0.0, 0.4, 1.0], [0.6, 0.0, 1.0, 1.0]


def truth(*rows: tuple[list[float], int, bool]) -> Annotations:
    return Annotations(
        boxes=np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in rows], np.int64),
        ignored=np.array([ignored for *_, ignored in rows], np.bool_),
    )


def test_each_object_is_found_once_by_the_best_label_of_its_class() -> None:
    stored = found(([0, 0, 0.4, 0.9], 0, 0.9), (LEFT, 0, 0.8), (RIGHT, 0, 0.7), (RIGHT, 1, 0.3))
    matches = match(stored, truth((LEFT, 0, False), (RIGHT, 1, False)))
    assert matches.right.tolist() == [True, False, False, True]
    assert matches.counts(0.5) == (1, 2, 1)
    assert matches.counts(0.1) == (2, 2, 0)
    assert matches.counts(0.95) == (0, 0, 2)


def test_labels_in_ignored_regions_of_their_class_are_left_out() -> None:
    whole = [0.0, 0.0, 1.0, 1.0]
    stored = found((LEFT, 0, 0.9), (RIGHT, 0, 0.8), (RIGHT, 1, 0.7))
    matches = match(stored, truth((LEFT, 0, False), (whole, 0, True)))
    assert matches.labels.tolist() == [0, 1]
    assert matches.right.tolist() == [True, False]
    assert match(found(), truth((LEFT, 0, False))).counts(0.1) == (0, 0, 1)
    assert match(stored, truth()).counts(0.1) == (0, 3, 0)


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
