"""The shared YOLOX-Nano and SSD MobileNet, as their READMEs describe them."""

from pathlib import Path

import numpy as np
import pytest

from ofa_det.data.images import read_image
from ofa_det.teachers.opening import open_teacher

from .conftest import KITE, SSD_MOBILENET, YOLOX_NANO

pytestmark = pytest.mark.skipif(
    not (YOLOX_NANO.exists() and SSD_MOBILENET.exists() and KITE.exists()),
    reason="needs the shared teachers, peers and mini_coco beside the checkout",
)


def decoded_yolox(path: Path) -> Path:
    """YOLOX-Nano with its decoder inside, as its exporter adds it."""
    onnx = pytest.importorskip("onnx")
    from ofa_det.teachers.decoder import read_decoder
    from ofa_det.teachers.decoding import cells

    model = onnx.load(YOLOX_NANO)
    grid = read_decoder("yolox").grid
    assert grid is not None
    places = cells(grid, (416, 416))
    constants = {
        "cells": places[None, :, :2],
        "strides": places[None, :, 2:],
        "parts": np.array([2, 2, 81], np.int64),
    }
    raw = model.graph.output[0].name
    make = onnx.helper.make_node
    model.graph.node.extend(
        [
            make("Split", [raw, "parts"], ["xy", "wh", "rest"], axis=2),
            make("Add", ["xy", "cells"], ["moved"]),
            make("Mul", ["moved", "strides"], ["centres"]),
            make("Exp", ["wh"], ["grown"]),
            make("Mul", ["grown", "strides"], ["sizes"]),
            make("Concat", ["centres", "sizes", "rest"], ["decoded"], axis=2),
        ]
    )
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.output[0].name = "decoded"
    model.opset_import[0].version = max(13, model.opset_import[0].version)
    onnx.save(model, path)
    return path


def test_yolox_nano_finds_the_kite_and_so_it_does_with_its_decoder_inside(tmp_path: Path) -> None:
    """Figures from the model's README: kite 0.84, person 0.74, person 0.63 above 0.3 on this image."""
    image = read_image(KITE)
    raw = open_teacher(str(YOLOX_NANO), threads=1)
    decoded = open_teacher(str(decoded_yolox(tmp_path / "decoded.onnx")), threads=1)
    assert [opened.sources[0].decoder.grid.box for opened in (raw, decoded)] == ["offsets", "centre"]
    (first,), (second,) = (opened.teacher.detect([image]) for opened in (raw, decoded))
    kept = first.scores.max(axis=1) > 0.3
    names = [raw.teacher.categories[label].name for label in first.scores[kept].argmax(axis=1)]
    assert names == ["kite", "person", "person"]
    assert first.scores[kept].max(axis=1) == pytest.approx([0.84, 0.74, 0.63], abs=0.02)
    assert second.boxes == pytest.approx(first.boxes, abs=1e-5)
    assert second.scores == pytest.approx(first.scores, abs=1e-5)


def test_ssd_mobilenet_is_a_teacher_and_joins_an_ensemble() -> None:
    image = read_image(KITE)
    single = open_teacher(str(SSD_MOBILENET), threads=1)
    (found,) = single.teacher.detect([image])
    assert len(found) == 10
    assert single.teacher.categories[int(found.scores[0].argmax())].name == "person"
    both = open_teacher(f"{YOLOX_NANO},{SSD_MOBILENET}", threads=1)
    (fused,) = both.teacher.detect([image])
    names = {both.teacher.categories[label].name for label in fused.scores[:2].argmax(axis=1)}
    assert names == {"kite", "person"}
