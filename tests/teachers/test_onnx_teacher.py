import json
from pathlib import Path

import numpy as np
import pytest

from ofa_det.arch.classes import Category
from ofa_det.arch.description import PostProcessConfig
from ofa_det.artefacts.records import record_content
from ofa_det.evaluation.onnx import METADATA_KEY, OnnxMetadata
from ofa_det.teachers.coco_categories import COCO_CATEGORIES
from ofa_det.teachers.onnx_teacher import open_onnx

from .conftest import WriteOnnx
from .test_probing import BOXES, CLASS_SCORES, DETS, LABELS, SCORES

WIDE = np.zeros((64, 128, 3), np.uint8)


def yolox_file(write_onnx: WriteOnnx, **options: object) -> Path:
    """Finds one toothbrush of 0.45, and less surely a person, at 24..40 x 8..24 of a 64 px input."""
    rows = np.zeros((84, 85), np.float32)
    cell = 8 * 8 + 4 * 1 + 2  # Row 1, column 2 of stride 16.
    rows[cell, 4:6] = 0.9, 0.1
    rows[cell, 5 + 79] = 0.5
    return write_onnx({"output": rows}, **options)


@pytest.mark.parametrize("batch", [1, 2, "free"])
def test_detections_are_normalised_to_each_image(write_onnx: WriteOnnx, batch: int | str) -> None:
    teacher, source = open_onnx(yolox_file(write_onnx, batch=batch), decoder="auto", labels=None, threads=2)
    assert teacher.categories == COCO_CATEGORIES
    assert (source.name, source.kind, source.decoder.grid.box) == ("detector.onnx", "onnx", "offsets")
    found = teacher.detect([WIDE, np.zeros((64, 32, 3), np.uint8), WIDE])
    # 128 x 64 shrinks to 64 x 32, 32 x 64 stays, and the box reaches beyond it.
    for detections, box in zip(
        found, ([24 / 64, 8 / 32, 40 / 64, 24 / 32], [24 / 32, 8 / 64, 1, 24 / 64]) * 2, strict=False
    ):
        assert detections.boxes == pytest.approx(np.array([box]))
        assert detections.scores.shape == (1, 80)
        assert detections.scores[0, [0, 79]] == pytest.approx([0.09, 0.45])
        assert np.count_nonzero(detections.scores) == 2
    assert teacher.detect([]) == []


def test_files_that_tell_a_class_for_each_box(write_onnx: WriteOnnx, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\n???\ndog\n")
    path = write_onnx({"dets": DETS, "labels": np.array([2, 0])})
    teacher, _ = open_onnx(path, decoder="auto", labels=None, threads=1)
    assert [category.name for category in teacher.categories] == ["cat", "dog"]
    (found,) = teacher.detect([WIDE])
    assert found.scores == pytest.approx(np.array([[0, 0.9], [0.3, 0]]))
    assert found.boxes[0] == pytest.approx([4 / 64, 4 / 32, 30 / 64, 1])


def test_a_class_without_a_name_is_refused(write_onnx: WriteOnnx, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\n")
    teacher, _ = open_onnx(write_onnx({"dets": DETS, "labels": LABELS}), decoder="auto", labels=None, threads=1)
    with pytest.raises(ValueError, match=r"expected classes below 1, .*, found 1 to 2; pass other --labels"):
        teacher.detect([WIDE])


def test_sizes_that_are_free_take_each_image_as_it_is(write_onnx: WriteOnnx) -> None:
    outputs = {"boxes": BOXES, "scores": SCORES, "labels": LABELS}
    path = write_onnx(outputs, batch=None, shape=(3, "height", "width"))
    teacher, _ = open_onnx(path, decoder="auto", labels="coco90", threads=2)
    for image, found in zip((WIDE, WIDE[:, :64]), teacher.detect([WIDE, WIDE[:, :64]]), strict=True):
        height, width = image.shape[:2]
        assert found.boxes == pytest.approx(BOXES / np.array([width, height] * 2))
        assert [teacher.categories[index].name for index in found.scores.argmax(axis=1)] == ["person", "bicycle"]


def test_an_export_of_ours_knows_its_categories(write_onnx: WriteOnnx) -> None:
    onnx = pytest.importorskip("onnx")
    names = OnnxMetadata(class_category_ids=(7, 12), class_names=("cat", "dog"), postprocess=PostProcessConfig())
    path = write_onnx(
        {"boxes": BOXES / 64, "scores": CLASS_SCORES},
        shape=(64, 64, 3),
        dtype=onnx.TensorProto.UINT8,
        metadata={METADATA_KEY: json.dumps(record_content(names))},
    )
    teacher, _ = open_onnx(path, decoder="auto", labels=None, threads=1)
    assert teacher.categories == (Category(id=7, name="cat"), Category(id=12, name="dog"))
    (found,) = teacher.detect([WIDE])
    assert found.boxes == pytest.approx(BOXES / 64)
    assert found.scores == pytest.approx(CLASS_SCORES)
