"""What the tests of several packages share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from ofa_det.arch.classes import Category
from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.manifest import (
    MANIFEST_FILE,
    Manifest,
    ModelEntry,
    NetworkEntry,
    QuantizationEntry,
    SourceEntry,
    TensorEntry,
)
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import to_yaml, write_record
from ofa_det.data.generated import generate_dataset

WriteDetector = Callable[..., Path]


# Of torch, which is imported later. Networks are tiny here, and on a busy machine threads that wait for each other take
# thirty times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "write what the hostile inputs of test_hostile_inputs.py got as a table"
    parser.addoption("--hostile_table", type=Path, metavar="FILE", help=text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    path: Path | None = config.getoption("hostile_table")
    if path is None:
        return
    lines = ["| input | command | status | told |", "|---|---|---|---|"]
    for report in terminalreporter.getreports("passed"):
        for name, command, status, told in (value for key, value in report.user_properties if key == "hostile"):
            shown = "<br>".join(f"`{line.replace('|', '¦')}`" for line in told)
            lines.append(f"| {name} | `{command}` | {status} | {shown} |")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def tiny_space() -> SearchSpace:
    """The smallest space that ships, at 64 and 96 px: subnets run in milliseconds."""
    return replace(read_space("ssdlite_mbv3_tiny"), resolutions=(64, 96))


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated data set of 12 images to train on and 3 to validate on, with gaps in its category ids."""
    return generate_dataset(tmp_path_factory.mktemp("tiny"), num_train=12, num_val=3, image_size=(96, 128))


@pytest.fixture(scope="session")
def tiny_space_file(tiny_space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_space` as the YAML file that `--space` takes."""
    path = tmp_path_factory.mktemp("spaces") / "tiny.yaml"
    path.write_text(to_yaml(tiny_space))
    return path


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process is the last of six ranks, three on each of two machines; gives what can change that."""
    sizes = {"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "RANK": "5", "LOCAL_RANK": "2"}
    for name, value in {"TORCHELASTIC_RUN_ID": "x", **sizes}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def write_detector(tmp_path) -> WriteDetector:
    """Writes a `.tflite` detector that finds the same whatever the image: `scores` (A, C) at the `anchors` (A, 4)."""

    def write(
        anchors: list[list[float]],
        scores: list[list[float]],
        *,
        input_type: int = schema.TensorType.UINT8,
        input_shape: tuple[int, ...] = (1, 6, 8, 3),
        max_detections: int = 100,
        name: str = "model.tflite",
    ) -> Path:
        from ofa_det.export.op_surgery import append_postprocess

        probability = np.clip(np.array(scores), 1e-9, 1 - 1e-7)
        logits = np.log(probability / (1 - probability))
        constants = [np.zeros((len(anchors), 4)), logits]
        model, graph = schema.ModelT(), schema.SubGraphT()
        image = schema.TensorT()
        image.name, image.shape, image.type = "images", list(input_shape), input_type
        graph.tensors = [image]
        model.version, model.subgraphs = 3, [graph]
        model.buffers = [schema.BufferT()]
        for index, constant in enumerate(constants, start=1):
            tensor, buffer = schema.TensorT(), schema.BufferT()
            tensor.name, tensor.shape, tensor.buffer = f"constant_{index}", [1, *constant.shape], index
            buffer.data = np.frombuffer(constant.astype(np.float32).tobytes(), np.uint8)
            graph.tensors.append(tensor)
            model.buffers.append(buffer)
        graph.inputs, graph.outputs = [0], [1, 2]
        # One op that reads the image, so that there is something to predict the latency of.
        code, op, unread = schema.OperatorCodeT(), schema.OperatorT(), schema.TensorT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MAXIMUM
        unread.name, unread.shape, unread.type = "unread", list(input_shape), input_type
        op.inputs, op.outputs, op.opcodeIndex = [0, 0], [len(graph.tensors)], 0
        graph.tensors.append(unread)
        model.operatorCodes, graph.operators = [code], [op]
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        config = PostProcessConfig(max_detections=max_detections)
        path = tmp_path / name
        path.write_bytes(append_postprocess(bytes(builder.Output()), np.array(anchors), config))
        return path

    return write


@pytest.fixture
def write_manifest(tiny_space: SearchSpace) -> Callable[..., Manifest]:
    """Writes the manifest of a model file whose classes have these category ids, None an unused one."""

    def write(model: Path, *category_ids: int | None) -> Manifest:
        known = sorted(category_id for category_id in category_ids if category_id is not None)
        manifest = Manifest(
            format="tflite-int8",
            model=ModelEntry(file=model.name, bytes=model.stat().st_size, sha256=model_sha256(model)),
            class_category_ids=category_ids,
            input=TensorEntry(name="images", shape=(1, 6, 8, 3), dtype="uint8", content="RGB bytes"),
            outputs=(),
            quantization=QuantizationEntry(method="int8", calibration_images=17, box_codes=(), logits=()),
            verification={"box_code_sqnr_db": 21.25, "score_sqnr_db": 23.75},
            network=NetworkEntry(
                detector=DetectorConfig.of(tiny_space, num_classes=len(known), anchor_sizes=ssd_anchor_sizes()),
                subnet=tiny_space.smallest(),
                macs=12_345_678,
                parameters=2_345_678,
                anchors=345,
                categories=tuple(Category(id=category_id, name=f"name {category_id}") for category_id in known),
            ),
            postprocess=PostProcessConfig(),
            source=SourceEntry(run_folder="runs/det", weights_sha256="abc123", config={}),
            export={},
        )
        write_record(model.with_name(MANIFEST_FILE), manifest)
        return manifest

    return write
