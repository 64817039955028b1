from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ofa_det.arch.classes import Category
from ofa_det.teachers.tflite_teacher import open_tflite

ANCHORS = [[0.25, 0.25, 0.5, 0.5], [0.75, 0.5, 0.5, 0.2]]  # cx, cy, w, h
IMAGES = [np.zeros((30, 40, 3), np.uint8), np.zeros((6, 8, 3), np.uint8), np.zeros((3, 300, 3), np.uint8)]


def test_boxes_have_one_class_each(write_detector: Callable[..., Path], tmp_path: Path) -> None:
    path = write_detector(ANCHORS, [[0.9, 0.2, 0.001], [0.001, 0.001, 0.6]])
    (tmp_path / "names.txt").write_text("cat\n???\ndog\n")
    teacher, source = open_tflite(path, labels=str(tmp_path / "names.txt"), threads=2)
    assert teacher.categories == (Category(id=1, name="cat"), Category(id=3, name="dog"))
    assert (source.kind, source.name) == ("tflite", path.name)
    for found in teacher.detect(IMAGES):
        assert found.boxes == pytest.approx(np.array([[0, 0, 0.5, 0.5], [0.5, 0.4, 1, 0.6]]), abs=1e-6)
        assert found.scores == pytest.approx(np.array([[0.9, 0], [0, 0.6]]), abs=1e-5)


def test_a_manifest_tells_the_classes(
    write_detector: Callable[..., Path], write_manifest: Callable[..., object], tmp_path: Path
) -> None:
    path = write_detector(ANCHORS, [[0.9, 0.2, 0.001], [0.001, 0.001, 0.6]])
    write_manifest(path, 4, None, 17)
    teacher, _ = open_tflite(path, labels=None, threads=1)
    assert [category.id for category in teacher.categories] == [4, 17]
    assert teacher.detect(IMAGES)[0].scores.argmax(axis=1).tolist() == [0, 1]
    with pytest.raises(ValueError, match="expected no --labels"):
        open_tflite(path, labels="coco90", threads=1)


def test_90_classes_are_coco_and_other_numbers_need_names(write_detector: Callable[..., Path]) -> None:
    path = write_detector(ANCHORS[:1], [[0.001] * 89 + [0.7]])
    teacher, source = open_tflite(path, labels=None, threads=1)
    (found,) = teacher.detect(IMAGES[:1])
    assert teacher.categories[int(found.scores[0].argmax())] == Category(id=90, name="toothbrush")
    assert source.classes == "COCO's, since there are 90"
    with pytest.raises(ValueError, match="found 2 classes and no names"):
        open_tflite(write_detector(ANCHORS[:1], [[0.1, 0.7]]), labels=None, threads=1)
