import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import read_json
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.detection.detections import Detections
from ofa_det.teachers import labels
from ofa_det.teachers.labels import LabelConfig, LabelCounts, label_dataset

CATEGORIES = (Category(id=1, name="person"), Category(id=90, name="toothbrush"))
IDENTITY = {"teacher": "fake", "teacher_sha256": "0"}


class FakeTeacher:
    """Boxes whose place tells the image's brightness; counts the images it has seen, and may fail at one."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.seen = 0
        self._fail_at = fail_at

    categories = CATEGORIES

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        if self.seen == self._fail_at:
            raise KeyboardInterrupt
        self.seen += 1
        left = float(image.mean()) / 255
        return Detections(
            boxes=np.array([[left, 0.25, 1, 0.75], [0, 0, 0.5, 0.5], [0.2, 0.2, 0.2, 0.4]], np.float32),
            scores=np.array([0.9, 0.2, 0.8], np.float32),
            category_ids=np.array([90, 1, 1]),
        )


def write_split(root: Path, split: str, count: int, categories: tuple[Category, ...]) -> None:
    (root / split).mkdir(parents=True)
    for index in range(count):
        Image.fromarray(np.full((40, 80, 3), 10 * index, np.uint8)).save(root / split / f"{index}.png")
    content = {
        "images": [{"id": 5 + i, "file_name": f"{i}.png", "width": 80, "height": 40} for i in range(count)],
        "annotations": [],
        "categories": [{"id": category.id, "name": category.name} for category in categories],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    root = tmp_path / "data"
    write_split(root, "train2017", 7, CATEGORIES)
    write_split(root, "val2017", 1, CATEGORIES)
    return DataConfig(root=str(root))


def label(data: DataConfig, output: Path, teacher: FakeTeacher | None = None, **options: Any) -> LabelCounts:
    config = LabelConfig(teacher="fake.onnx", data=data, output=str(output), **options)
    return label_dataset(teacher or FakeTeacher(), config, identity=IDENTITY)


def test_labels_are_a_data_set_with_the_teachers_boxes(data: DataConfig, tmp_path: Path) -> None:
    output = tmp_path / "labelled"
    assert label(data, output) == LabelCounts(images=7, boxes=7, unreadable=0)
    written = read_json(output / "annotations/instances_train2017.json")
    third = next(a for a in written["annotations"] if a["image_id"] == 7)
    assert third["bbox"] == pytest.approx([80 * 20 / 255, 10, 80 - 80 * 20 / 255, 20], abs=0.01)
    assert (third["category_id"], third["iscrowd"]) == (90, 0)
    assert third["score"] == pytest.approx(0.9)
    assert third["area"] == pytest.approx(third["bbox"][2] * third["bbox"][3], abs=0.01)

    dataset = open_split(DataConfig(root=str(output)), "train")
    assert dataset.categories == CATEGORIES
    assert len(dataset) == 7
    assert dataset.annotations(0).labels.tolist() == [1]
    assert (dataset.image(2) == 20).all()
    assert (output / "train2017").is_symlink()
    assert len(open_split(DataConfig(root=str(output)), "val")) == 1


def test_copied_images_stand_alone(data: DataConfig, tmp_path: Path) -> None:
    output = tmp_path / "labelled"
    label(data, output, copy_images=True)
    assert not any(path.is_symlink() for path in output.rglob("*"))
    assert len(open_split(DataConfig(root=str(output)), "train")) == 7


def test_interrupted_labelling_continues_and_ends_equal(
    data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "SHARD_IMAGES", 2)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    label(data, whole)
    with pytest.raises(KeyboardInterrupt):
        label(data, resumed, FakeTeacher(fail_at=5))
    assert not (resumed / "annotations/instances_train2017.json").exists()
    teacher = FakeTeacher()
    label(data, resumed, teacher, resume=True)
    assert teacher.seen == 3  # The two whole shards of two images each were kept.
    name = "annotations/instances_train2017.json"
    assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_output_of_another_labelling_is_refused(data: DataConfig, tmp_path: Path) -> None:
    output = tmp_path / "labelled"
    label(data, output)
    with pytest.raises(ValueError, match="pass --resume or another --output"):
        label(data, output)
    with pytest.raises(ValueError, match=r"expected score_threshold 0\.5 in .*, found 0\.3; .*another --output"):
        label(data, output, score_threshold=0.5, resume=True)


def test_output_inside_the_data_set_is_refused(data: DataConfig) -> None:
    with pytest.raises(ValueError, match="outside the data set"):
        label(data, Path(data.root) / "labelled")


def test_unreadable_image_is_left_out_with_a_warning(
    data: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(data.root) / "train2017/3.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8)).save(path)
    os.truncate(path, path.stat().st_size // 2)  # The header stays readable.
    assert label(data, tmp_path / "labelled") == LabelCounts(images=6, boxes=6, unreadable=1)
    assert "3.png" in caplog.text


def test_validation_part_of_other_categories_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "data"
    write_split(root, "train2017", 1, CATEGORIES)
    write_split(root, "val2017", 1, (Category(id=1, name="cell"),))
    label(DataConfig(root=str(root)), tmp_path / "labelled")
    assert not (tmp_path / "labelled/val2017").exists()
    assert "categories are not the teacher's" in caplog.text


def test_labels_of_another_teacher_are_not_continued(data: DataConfig, tmp_path: Path) -> None:
    output = tmp_path / "labelled"
    label(data, output)
    config = LabelConfig(teacher="fake.onnx", data=data, output=str(output), resume=True)
    with pytest.raises(ValueError, match=r"expected teacher_sha256 '1' in .*, found '0'"):
        label_dataset(FakeTeacher(), config, identity={**IDENTITY, "teacher_sha256": "1"})


def test_options_out_of_range_are_refused(data: DataConfig) -> None:
    with pytest.raises(ValueError, match="score_threshold <= 1, found 30"):
        LabelConfig(teacher="fake.onnx", data=data, score_threshold=30)
    with pytest.raises(ValueError, match="threads >= 0, found -1"):
        LabelConfig(teacher="fake.onnx", data=data, threads=-1)


def test_a_damaged_cache_is_refused_with_the_place(data: DataConfig, tmp_path: Path) -> None:
    output = tmp_path / "labelled"
    label(data, output)
    (path,) = (output / labels.CACHE_FOLDER).iterdir()
    whole = path.read_text()
    for old, new, message in (
        ('"schema_version": 1', '"schema_version": 0', "schema_version 1, found 0"),
        ('"image_id": 6', '"image_id": "six"', r"expected an int at labels\[1\]\.image_id, found 'six'"),
    ):
        path.write_text(whole.replace(old, new))
        with pytest.raises(ValueError, match=rf"images-0000000\.json.*{message}"):
            label(data, output, resume=True)
