import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ofa_det.arch.classes import Category
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.decoder import read_decoder
from ofa_det.teachers.label_file import LABELS_NAME, LabelHeader, TeacherLabels, quantised
from ofa_det.teachers.mapping import CategoryMapping
from ofa_det.teachers.source import TeacherSource

from .conftest import DATASET_CATEGORIES

CATEGORIES = tuple(Category(id=number, name=f"class {number}") for number in range(1, 6))


def header(**options: Any) -> LabelHeader:
    mapping = CategoryMapping(
        categories=CATEGORIES, columns=((0,), (1, 2), (), (3,), ()), dropped=("x",), missing=("class 3", "class 5")
    )
    source = TeacherSource(name="t.onnx", kind="onnx", sha256="0", classes="given", decoder=read_decoder("yolox"))
    defaults: dict[str, Any] = {
        "teacher": (source,),
        "licence": "Apache-2.0",
        "mapping": mapping,
        "images_sha256": "abc",
        "views": 0,
        "seed": 0,
        "augmentation": None,
        "top_classes": 2,
    }
    return LabelHeader(**{**defaults, **options})


def labels(count: int = 3, views: int = 0, seed: int = 0) -> TeacherLabels:
    """`count` images; view v of image n has (n + v) % 3 boxes of scores 0.8, 0.4."""
    rng = np.random.default_rng(seed)
    counts = ((np.arange(count)[:, None] + np.arange(max(1, views))) % 3).astype(np.uint16)
    total = int(counts.sum())
    low = rng.uniform(0, 0.5, (total, 2))
    scores = np.concatenate([[0.8, 0.4][:number] for number in counts.ravel()])[:, None] * [1, 0.25]
    return TeacherLabels(
        header=header(views=views, augmentation=AugmentationConfig() if views else None),
        image_ids=np.arange(count, dtype=np.int64) * 7,
        file_names=tuple(f"ä {number}.jpg" for number in range(count)),
        image_sizes=np.tile(np.array([40, 80], np.int32), (count, 1)),
        readable=np.ones(count, np.uint8),
        counts=counts,
        boxes=quantised(np.concatenate([low, low + 0.3], axis=1).astype(np.float32)),
        classes=np.tile(np.array([4, 1], np.uint8), (total, 1)),
        scores=scores.astype(np.float16),
        windows=rng.integers(-9, 9, (count, views, 4)).astype(np.int32),
        flips=rng.integers(0, 2, (count, views, 2)).astype(np.uint8),
    )


@pytest.mark.parametrize("views", [0, 4])
def test_what_is_read_is_what_was_written(tmp_path: Path, views: int) -> None:
    written = labels(views=views)
    written.write(tmp_path / LABELS_NAME)
    read = TeacherLabels.read(tmp_path)
    assert read.header == written.header
    assert read.file_names == written.file_names
    assert (len(read), read.num_views) == (3, max(1, views))
    for name in ("image_ids", "image_sizes", "readable", "counts", "boxes", "classes", "scores", "windows", "flips"):
        found, expected = getattr(read, name), getattr(written, name)
        assert np.array_equal(found, expected)
        assert found.dtype == expected.dtype
    for image in range(3):
        for view in range(read.num_views):
            for found, expected in zip(read.of(image, view), written.of(image, view), strict=True):
                assert np.array_equal(found, expected)
    read.write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / LABELS_NAME).read_bytes()


def test_boxes_are_stored_within_half_a_step() -> None:
    boxes = np.random.default_rng(0).random((1000, 4)).astype(np.float32)
    boxes[:2] = [[0, 0, 1, 1], [0, 1, 0, 1]]
    restored = quantised(boxes).astype(np.float64) / 65535
    assert np.abs(restored - boxes).max() <= 0.5 / 65535 + 1e-9
    assert restored[:2].tolist() == [[0, 0, 1, 1], [0, 1, 0, 1]]


def test_a_threshold_is_applied_when_labels_are_read() -> None:
    stored = labels()
    assert [len(stored.of(2, score_threshold=threshold)) for threshold in (0, 0.4, 0.5, 0.9)] == [2, 1, 1, 0]
    found = stored.of(2)
    assert found.scores == pytest.approx(np.array([[0.8, 0.2], [0.4, 0.1]]), abs=5e-4)
    assert (found.boxes.dtype, found.classes.dtype, found.scores.dtype) == (np.float32, np.int64, np.float32)
    assert found.class_scores(5) == pytest.approx(np.array([[0, 0.2, 0, 0, 0.8], [0, 0.1, 0, 0, 0.4]]), abs=5e-4)
    empty = stored.of(0)
    assert (empty.boxes.shape, empty.classes.shape, empty.class_scores(5).shape) == ((0, 4), (0, 2), (0, 5))
    with pytest.raises(IndexError, match="one of 3 images and 1 views, found 3 and 0"):
        stored.of(3)
    with pytest.raises(IndexError, match="found 0 and 1"):
        stored.of(0, 1)


def test_parts_are_joined_in_their_order() -> None:
    whole = TeacherLabels.joined([labels(2, 3, seed=1), labels(3, 3, seed=2)])
    for image in range(3):
        for found, expected in zip(whole.of(2 + image, 2), labels(3, 3, seed=2).of(image, 2), strict=True):
            assert np.array_equal(found, expected)
    assert whole.file_names[2] == "ä 0.jpg"


def test_forked_processes_share_what_is_open(tmp_path: Path) -> None:
    labels().write(tmp_path / LABELS_NAME)
    read = TeacherLabels.read(tmp_path)
    assert not read.boxes.flags.owndata
    assert not read.boxes.flags.writeable
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(len(read.of(2))))
    process.start()
    assert receiver.recv() == 2
    process.join()


def test_images_are_found_by_id_name_and_size(data_root: Path) -> None:
    dataset = open_split(DataConfig(root=str(data_root)), "train")
    names = tuple(dataset.file_name(index) for index in range(len(dataset)))
    mapping = replace(header().mapping, categories=DATASET_CATEGORIES, columns=((0,), (), (1,)))
    stored = replace(
        labels(7),
        header=header(mapping=mapping),
        image_ids=np.arange(10, 17),
        file_names=names,
        image_sizes=np.tile(np.array([90, 120], np.int32), (7, 1)),
    )
    assert stored.rows_of(dataset).tolist() == list(range(7))
    assert stored.rows_of(dataset.subset(np.array([5, 2]))).tolist() == [5, 2]
    for other, message in (
        (replace(stored, file_names=("other.png", *names[1:])), r"found none of 0\.png, 120 x 90 px, id 10"),
        (replace(stored, image_ids=np.arange(11, 18)), r"found none of 0\.png"),
        (replace(stored, image_sizes=stored.image_sizes + 1), r"found none of 0\.png"),
        (replace(stored, header=header()), "of the 3 categories of the data set, found 5 others"),
    ):
        with pytest.raises(ValueError, match=message):
            other.rows_of(dataset)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"found nothing at .*; make them with label_with_teacher"):
        TeacherLabels.read(tmp_path)
    path = tmp_path / LABELS_NAME
    path.write_bytes(b"no labels")
    with pytest.raises(ValueError, match=r"expected a teacher's labels in .*; make them anew"):
        TeacherLabels.read(path)
    labels().write(path)
    arrays = load_file(path)
    save_file({**arrays, "boxes": arrays["boxes"][1:]}, path, metadata=metadata_of(path))
    with pytest.raises(ValueError, match=r"expected boxes of shape \(3, 4\), found \(2, 4\); make them anew"):
        TeacherLabels.read(path)
    save_file(arrays, path)
    with pytest.raises(ValueError, match=r"expected .* of schema_version 1, found none; make it anew"):
        TeacherLabels.read(path)


def metadata_of(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    found: dict[str, str] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return found
