"""Teachers and data sets that are made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ofa_det.arch.classes import Category
from ofa_det.teachers.opening import OpenedTeacher
from ofa_det.teachers.source import TeacherSource
from ofa_det.teachers.teacher import TeacherDetections

SHARED = Path(__file__).parents[2] / "../shared"
YOLOX_NANO = SHARED / "teachers/yolox_nano.onnx"
SSD_MOBILENET = SHARED / "peers/coco_ssd_mobilenet_v1_quant.tflite"
KITE = SHARED / "data/mini_coco/val2017/000000532481.jpg"

WriteOnnx = Callable[..., Path]


@pytest.fixture
def write_onnx(tmp_path: Path) -> WriteOnnx:
    """Writes an ONNX detector that finds the same in every image.

    `outputs` are what it gives for one image. `batch` is that of the input: a number, "free", or None for an input
    without that dimension; its outputs then have none either.
    """
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto

    def write(
        outputs: Mapping[str, NDArray[Any]],
        *,
        shape: Sequence[int | str] = (3, 64, 64),
        batch: int | str | None = 1,
        dtype: int = types.FLOAT,
        metadata: Mapping[str, str] | None = None,
        name: str = "detector.onnx",
    ) -> Path:
        sides = list(shape) if batch is None else [batch, *shape]
        nodes, values = [], []
        constants = [
            onnx.numpy_helper.from_array(np.array([0]), "zero"),
            onnx.numpy_helper.from_array(np.array([1]), "one"),
        ]
        if batch is not None:
            nodes += [
                helper.make_node("Shape", ["images"], ["shape"]),
                helper.make_node("Slice", ["shape", "zero", "one"], ["batch"]),
            ]
        for output, value in outputs.items():
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            if batch is None:
                constants.append(onnx.numpy_helper.from_array(value, f"{output}_value"))
                nodes.append(helper.make_node("Identity", [f"{output}_value"], [output]))
                values.append(helper.make_tensor_value_info(output, kind, list(value.shape)))
                continue
            constants.append(onnx.numpy_helper.from_array(value[None], f"{output}_value"))
            constants.append(onnx.numpy_helper.from_array(np.ones(value.ndim, np.int64), f"{output}_ones"))
            nodes += [
                helper.make_node("Concat", ["batch", f"{output}_ones"], [f"{output}_repeats"], axis=0),
                helper.make_node("Tile", [f"{output}_value", f"{output}_repeats"], [output]),
            ]
            values.append(helper.make_tensor_value_info(output, kind, [batch, *value.shape]))
        images = helper.make_tensor_value_info("images", dtype, sides)
        graph = helper.make_graph(nodes, "constant", [images], values, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, dict(metadata or {}))
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write


class FakeTeacher:
    """Finds what is red, as the first category and less surely as the second; counts images, and may fail at one."""

    categories = (Category(id=3, name="Red thing"), Category(id=7, name="other"), Category(id=9, name="unknown"))

    def __init__(self, fail_at: int | None = None) -> None:
        self.seen = 0
        self._fail_at = fail_at

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: NDArray[np.uint8]) -> TeacherDetections:
        if self.seen == self._fail_at:
            raise KeyboardInterrupt
        self.seen += 1
        rows, columns = np.nonzero((image[..., 0] > 150) & (image[..., 1] < 80))
        if not len(rows):
            return TeacherDetections(boxes=np.zeros((0, 4), np.float32), scores=np.zeros((0, 3), np.float32))
        corners = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
        boxes = (corners / ([image.shape[1], image.shape[0]] * 2)).astype(np.float32)
        return TeacherDetections(
            boxes=np.concatenate([boxes, [[0, 0, 1, 1]]]).astype(np.float32),
            scores=np.array([[0.9, 0.3, 0.0], [0.0, 0.1, 0.95]], np.float32),
        )


def opened(teacher: Any, sha256: str = "0") -> OpenedTeacher:
    source = TeacherSource(name="fake", kind="onnx", sha256=sha256, classes="of the test")
    return OpenedTeacher(teacher=teacher, sources=(source,))


DATASET_CATEGORIES = (
    Category(id=1, name="other"),
    Category(id=4, name="never"),
    Category(id=5, name="red-thing"),
)
IMAGE_SIZE = 90, 120


def red_box(number: int) -> list[int]:
    """x, y, width and height of what is red in an image, in pixels."""
    return [10 + 7 * number, 8 + 5 * number, 40, 30]


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A data set of seven training images and two to validate on, each with a red rectangle on noise."""
    root = tmp_path / "data"
    for split, count in (("train2017", 7), ("val2017", 2)):
        (root / split).mkdir(parents=True)
        for number in range(count):
            image = np.random.default_rng(number).integers(100, 140, (*IMAGE_SIZE, 3), dtype=np.uint8)
            x, y, width, height = red_box(number)
            image[y : y + height, x : x + width] = (230, 10, 10)
            Image.fromarray(image).save(root / split / f"{number}.png")
        boxes = [{"id": 1 + n, "image_id": 10 + n, "category_id": 5, "bbox": red_box(n)} for n in range(count)]
        height, width = IMAGE_SIZE
        images = [{"id": 10 + n, "file_name": f"{n}.png", "width": width, "height": height} for n in range(count)]
        content = {
            "images": images,
            "annotations": boxes,
            "categories": [{"id": category.id, "name": category.name} for category in DATASET_CATEGORIES],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root
