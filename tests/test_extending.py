"""`docs/extending.md`: its files are written and its commands run, as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.records import read_record
from ofa_det.cli.main import main
from ofa_det.latency import calibrate
from ofa_det.latency.calibrated_table import CalibratedTable
from ofa_det.latency.features import FEATURES, network_features
from ofa_det.latency.tflite_file import parse_tflite
from ofa_det.teachers.label_file import TeacherLabels

PAGE = Path(__file__).parents[1] / "docs/extending.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Phone:
    """Takes a nanosecond for a multiply-accumulate and a tenth of a millisecond besides."""

    name, runtime, machine = "my phone", "tflite", {"governor": "performance"}

    def median_ms(self, content: bytes) -> float:
        network = parse_tflite(content, where="a file")
        return 0.1 + 1e-6 * network.macs + 0.01 * float(network_features(network.layers).sum())


def write_teacher(path: Path) -> None:
    """An ONNX detector that sees a circle in the left half and a square in the right one, whatever the image."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    outputs = {
        "boxes": np.array([[[0.1, 0.2, 0.4, 0.8], [0.6, 0.2, 0.9, 0.8]]], np.float32),
        "scores": np.array([[[0.9, 0.1], [0.2, 0.8]]], np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_value"], [name]) for name in outputs],
        "constant",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape) for name, value in outputs.items()],
        [onnx.numpy_helper.from_array(value, f"{name}_value") for name, value in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def page(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The page's commands, in a folder with its files."""
    monkeypatch.chdir(tmp_path)
    Path("DATA").symlink_to(tiny_root)
    write_teacher(Path("my_teacher.onnx"))
    monkeypatch.setattr(calibrate, "open_device", lambda config: Phone())
    commands = []
    for language, title, text in BLOCK.findall(PAGE.read_text()):
        if language == "sh":
            commands += [shlex.split(line) for line in text.splitlines()]
        else:
            assert title, text
            Path(title).write_text(text)
    return commands


def test_the_page_does_what_it_says(page: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    printed: dict[str, Any] = {}
    for name, command, *words in page:
        assert name == "ofa-det"
        assert main([command, *words]) == 0, capsys.readouterr().err
        printed.setdefault(command, []).append(capsys.readouterr().out)
    assert list(printed) == ["predict-latency", "fit-anchors", "train", "calibrate-latency", "label"]
    # A space, on the Pixel 2 and on the phone that was measured.
    ours, phones = printed["predict-latency"]
    assert "device pixel2" in ours
    assert "device my phone, runtime tflite" in phones
    # A neck, trained.
    assert Path("anchors.json").is_file()
    description = read_description("runs/my_neck")
    assert [node.name for node in description.detector.space.neck] == ["lateral5", "up5", "lateral4", "out4"]
    # A phone.
    table = read_record("runs/my_phone/latency_table.json", CalibratedTable)
    assert (table.networks, table.held_out.networks, table.features) == (24, 12, FEATURES)
    assert table.held_out.spearman > 0.97
    # A teacher.
    labels = TeacherLabels.read("DATA_teacher/teacher_labels.safetensors")
    assert labels.counts.ravel().tolist() == [2] * len(labels.file_names)
