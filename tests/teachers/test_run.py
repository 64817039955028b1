import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ofa_det.artefacts.files import read_json
from ofa_det.artefacts.records import read_record
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers import labelling
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.feature_file import FeatureConfig
from ofa_det.teachers.image_folder import ImageFolder
from ofa_det.teachers.label_file import LABELS_NAME, TeacherLabels
from ofa_det.teachers.run import LabelManifest, LabelSummary, label, label_with

from .conftest import DATASET_CATEGORIES, IMAGE_SIZE, FakeTeacher, opened, red_box

TRAIN = "annotations/instances_train2017.json"


def config(root: Path, output: Path, **options: Any) -> LabelConfig:
    return LabelConfig(**{"teacher": "fake", "data": DataConfig(root=str(root)), "output": str(output), **options})


def run(
    root: Path, output: Path, teacher: FakeTeacher | None = None, sha256: str = "0", **options: Any
) -> LabelSummary:
    asked = config(root, output, **options)
    return label_with(opened(teacher or FakeTeacher(), sha256), open_split(asked.data, asked.split), asked)


def truncate(path: Path) -> None:
    """Leaves the header readable."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*IMAGE_SIZE, 3), np.uint8)).save(path)
    os.truncate(path, path.stat().st_size // 2)


def test_labels_are_of_the_data_sets_categories(data_root: Path, tmp_path: Path) -> None:
    summary = run(data_root, tmp_path / "out", licence="CC BY 4.0", batch_size=3, threads=2)
    labels = TeacherLabels.read(tmp_path / "out")
    assert labels.categories == DATASET_CATEGORIES
    assert (labels.header.licence, labels.header.mapping.dropped) == ("CC BY 4.0", ("unknown",))
    assert labels.header.mapping.missing == ("never",)
    height, width = IMAGE_SIZE
    for row in range(7):
        x, y, w, h = red_box(row)
        found = labels.of(row, score_threshold=0.5)
        expected = np.array([[x, y, x + w, y + h]]) / [width, height, width, height]
        assert found.boxes == pytest.approx(expected, abs=1e-4)
        assert found.classes[0].tolist() == [2, 0, 1]
        assert found.scores[0] == pytest.approx([0.9, 0.3, 0], abs=1e-3)
        # The other box's best category is none of the data set's; "other" is left of it.
        assert labels.of(row).scores[1] == pytest.approx([0.1, 0, 0], abs=1e-3)
    manifest = read_record(tmp_path / "out/labels.json", LabelManifest)
    assert manifest == summary.manifest
    assert (manifest.images, manifest.views_of_each, manifest.boxes, manifest.unreadable) == (7, 1, 14, ())
    assert manifest.bytes_per_image == pytest.approx((tmp_path / "out" / LABELS_NAME).stat().st_size / 7, abs=0.1)
    assert manifest.images_per_second is not None
    assert summary.report is not None
    assert manifest.ap == summary.report.metrics.AP
    assert {path.name for path in (tmp_path / "out").iterdir()} == {LABELS_NAME, "labels.json", "report"}


@pytest.mark.parametrize("options", [{}, {"views": 3, "augmentation": AugmentationConfig(), "seed": 4}])
def test_an_interrupted_labelling_continues_and_ends_equal(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Mapping[str, Any]
) -> None:
    monkeypatch.setattr(labelling, "SHARD_IMAGES", 2)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(data_root, whole, report=False, **options)
    each = max(1, options.get("views", 0))
    with pytest.raises(KeyboardInterrupt):
        run(data_root, resumed, FakeTeacher(fail_at=5 * each), report=False, **options)
    assert not (resumed / LABELS_NAME).exists()
    teacher = FakeTeacher()
    run(data_root, resumed, teacher, report=False, resume=True, **options)
    assert teacher.seen == 3 * each  # The two whole shards of two images each were kept.
    assert (resumed / LABELS_NAME).read_bytes() == (whole / LABELS_NAME).read_bytes()
    teacher = FakeTeacher()
    assert run(data_root, resumed, teacher, resume=True, **options).manifest.images_per_second is None
    assert teacher.seen == (7 if options else 0)  # Whole images, for the report.
    assert not list(resumed.glob("shards*"))


def test_an_output_of_another_labelling_is_refused(data_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(data_root, output, report=False)
    with pytest.raises(ValueError, match="pass --resume or another --output"):
        label(config(data_root, output))
    with pytest.raises(ValueError, match=r"expected top_classes 1 in .*, found 3; choose another --output"):
        run(data_root, output, top_classes=1, resume=True)
    with pytest.raises(ValueError, match=r"expected teacher .*'1'.* in .*; choose another --output"):
        run(data_root, output, sha256="1", resume=True)
    with pytest.raises(ValueError, match="expected an output outside"):
        label(config(data_root, data_root / "train2017/labels"))


@pytest.mark.parametrize(("teachers", "found"), [(1, "a teacher of kind onnx"), (2, "2 teachers")])
def test_features_that_cannot_be_had_are_missed_before_anything_is_labelled(
    data_root: Path, tmp_path: Path, teachers: int, found: str
) -> None:
    asked = config(data_root, tmp_path / "out", views=2, features=FeatureConfig(strides=(16,)))
    one = opened(FakeTeacher(), "0")
    several = replace(one, sources=one.sources * teachers)
    with pytest.raises(ValueError, match=f"expected one run folder, .* with --features.strides, found {found}"):
        label_with(several, open_split(asked.data, asked.split), asked)
    assert not (tmp_path / "out").exists()


def test_a_shard_of_another_labelling_is_refused(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "SHARD_IMAGES", 2)
    with pytest.raises(KeyboardInterrupt):
        run(data_root, tmp_path / "out", FakeTeacher(fail_at=5))
    with pytest.raises(ValueError, match=r"expected licence 'MIT' in .*labels-00000000.*, found ''"):
        run(data_root, tmp_path / "out", licence="MIT", resume=True)


def test_an_unreadable_image_is_named_and_marked(
    data_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truncate(data_root / "train2017/3.png")
    summary = run(data_root, tmp_path / "out", views=2)
    labels = TeacherLabels.read(tmp_path / "out")
    assert "3.png" in caplog.text
    assert labels.readable.tolist() == [1, 1, 1, 0, 1, 1, 1]
    assert len(labels.of(3, 1)) == 0
    assert summary.manifest.unreadable == ("3.png",)
    assert summary.report is not None
    assert (summary.report.unreadable, summary.report.metrics.images) == (1, 6)


def test_a_folder_of_pictures_has_the_teachers_categories(data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "train2017"
    (folder / "more").mkdir()
    (folder / "6.png").rename(folder / "more/6.PNG")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.jpg").write_bytes(b"no picture")
    asked = LabelConfig(teacher="fake", images=str(folder), output=str(tmp_path / "out"), as_dataset=True)
    summary = label_with(opened(FakeTeacher()), ImageFolder(folder), asked)
    labels = TeacherLabels.read(tmp_path / "out")
    assert labels.categories == FakeTeacher.categories
    assert labels.file_names == (*(f"{number}.png" for number in range(6)), "broken.jpg", "more/6.PNG")
    assert labels.readable.tolist() == [1] * 6 + [0, 1]
    assert labels.image_sizes[[0, 6]].tolist() == [list(IMAGE_SIZE), [0, 0]]
    assert (summary.report, summary.manifest.split, summary.dataset_boxes) == (None, None, 14)
    dataset = open_split(DataConfig(root=str(tmp_path / "out")), "train")
    assert len(dataset) == 7
    assert labels.rows_of(dataset).tolist() == [0, 1, 2, 3, 4, 5, 7]
    with pytest.raises(FileNotFoundError, match="expected a folder of pictures"):
        ImageFolder(folder / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected pictures \(.bmp, .*\) in"):
        ImageFolder(tmp_path / "empty")


def test_labels_as_a_data_set(data_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = run(data_root, output, as_dataset=True)
    assert summary.dataset_boxes == 7
    written = read_json(output / TRAIN)
    assert "score 0.3 and above" in written["info"]["description"]
    found = next(entry for entry in written["annotations"] if entry["image_id"] == 12)
    assert found["bbox"] == pytest.approx(red_box(2), abs=0.02)
    assert (found["category_id"], found["iscrowd"]) == (5, 0)
    assert found["score"] == pytest.approx(0.9, abs=1e-3)
    assert found["area"] == pytest.approx(found["bbox"][2] * found["bbox"][3], abs=0.01)
    dataset = open_split(DataConfig(root=str(output)), "train")
    assert dataset.categories == DATASET_CATEGORIES
    assert len(dataset) == 7
    assert (output / "train2017").is_symlink()
    assert len(open_split(DataConfig(root=str(output)), "val")) == 2
    # Another threshold needs no teacher.
    teacher = FakeTeacher()
    lower = run(data_root, output, teacher, as_dataset=True, score_threshold=0.05, resume=True)
    assert (lower.dataset_boxes, teacher.seen) == (14, 0)


def test_a_copied_data_set_stands_alone(data_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truncate(data_root / "train2017/3.png")
    shutil.rmtree(data_root / "val2017")
    run(data_root, tmp_path / "out", as_dataset=True, copy_images=True, report=False)
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert len(open_split(DataConfig(root=str(tmp_path / "out")), "train")) == 6
    assert "there is no validation part" in caplog.text


def test_the_validation_images_can_be_labelled(data_root: Path, tmp_path: Path) -> None:
    summary = run(data_root, tmp_path / "out", split="val")
    assert (summary.manifest.images, summary.manifest.split) == (2, "val")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": "folder"}, "either --data.root or --images, found both"),
        ({"data": DataConfig(root="")}, "either --data.root or --images, found neither"),
        ({"score_threshold": 30}, "score_threshold <= 1, found 30"),
        ({"threads": -1}, "threads >= 0, found -1"),
        ({"views": -1}, "views >= 0, found -1"),
        ({"top_classes": 0}, "top_classes >= 1, found 0"),
        ({"batch_size": 0}, "batch_size >= 1, found 0"),
        ({"views": 2, "augmentation": AugmentationConfig(mosaic=0.5)}, "augmentation.mosaic 0 with stored views"),
        ({"views": 2, "as_dataset": True}, "--views 0 and --split train with --as_dataset, found 2 and train"),
        ({"split": "val", "as_dataset": True}, "found 0 and val"),
    ],
)
def test_options_that_do_not_go_together_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(Path("data"), Path("out"), **wrong)


def test_a_mosaic_of_training_does_not_matter_without_views() -> None:
    assert replace(config(Path("data"), Path("out")), augmentation=AugmentationConfig(mosaic=0.5)).views == 0
