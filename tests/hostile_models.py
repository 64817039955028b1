"""Models and what lies beside them, made to break the commands, for `test_hostile_inputs.py`."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from hostile_data import Room, Row, bomb_png
from safetensors.numpy import load_file, save

from ofa_det.artefacts.model_file import MODEL_FILE


def evaluated(room: Room, model: Path) -> list[str]:
    return ["eval", "--model", str(model), "--data.root", str(room.data_root), "--output", str(room.folder / "eval")]


def weights(change: Callable[[dict[str, str], dict[str, np.ndarray]], object]) -> Row:
    """A run folder whose header and tensors are changed."""

    def make(room: Room) -> list[str]:
        tensors = load_file(room.detector / MODEL_FILE)
        content = (room.detector / MODEL_FILE).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        change(header, tensors)
        room.write(f"det/{MODEL_FILE}", save(tensors, metadata=header))
        return evaluated(room, room.folder / "det")

    return make


def description(change: Callable[[dict], object]) -> Row:
    def changed(header: dict[str, str], tensors: dict[str, np.ndarray]) -> None:
        content = json.loads(header["ofa_det"])
        change(content)
        header["ofa_det"] = json.dumps(content)

    return weights(changed)


def header_text(text: str) -> Row:
    return weights(lambda header, tensors: header.update(ofa_det=text))


def widened(content: dict) -> None:
    content["detector"]["space"]["backbone"]["stem"]["width"] = 10**7


def run_folder(change: Callable[[bytes], bytes]) -> Row:
    def make(room: Room) -> list[str]:
        room.write(f"det/{MODEL_FILE}", change((room.detector / MODEL_FILE).read_bytes()))
        return evaluated(room, room.folder / "det")

    return make


def tflite(change: Callable[[bytes], bytes], command: str = "eval") -> Row:
    def make(room: Room) -> list[str]:
        model = room.write("hostile.tflite", change(room.tflite.read_bytes()))
        return evaluated(room, model) if command == "eval" else [command, "--model", str(model)]

    return make


def beside(name: str, content: bytes | str, *more: str) -> Row:
    """A sound model with a hostile file beside it."""

    def make(room: Room) -> list[str]:
        room.write("model.tflite", room.tflite.read_bytes())
        room.write(name, content)
        return ["detect", "--model", str(room.folder / "model.tflite"), "--image", str(room.picture("a.png")), *more]

    return make


def image(content: bytes) -> Row:
    def make(room: Room) -> list[str]:
        return ["detect", "--model", str(room.detector), "--image", str(room.write("hostile.png", content))]

    return make


def onnx_model(location: str | None = None, metadata: str = "{}") -> bytes:
    """Adds a weight to its input; the weight is in another file if a location is named."""
    weight = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    if location is not None:
        onnx.external_data_helper.set_external_data(weight, location)
        weight.ClearField("raw_data")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", *([v] for v in values), [weight]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.helper.set_model_props(model, {"ofa_det": metadata})
    return model.SerializeToString()


def onnx_file(content: bytes) -> Row:
    def make(room: Room) -> list[str]:
        room.write("weights.bin", np.ones(4, np.float32).tobytes())
        return evaluated(room, room.write("hostile.onnx", content))

    return make


def subnet(content: str) -> Row:
    def make(room: Room) -> list[str]:
        return ["predict-latency", "--model", str(room.write("subnet.json", content))]

    return make


MODEL_ROWS: dict[str, tuple[Row, str]] = {
    "weights: header without its keys": (header_text('{"schema_version": 2}'), "expected 'detector', found none"),
    "weights: header of a list": (header_text("[1]"), "schema_version 3, found none"),
    "weights: header nested deep": (header_text("[" * 100_000), "nested too deeply"),
    "weights: header without ours": (weights(lambda header, tensors: header.clear()), "schema_version 3, found none"),
    "weights: resolution 10^6": (
        description(lambda content: content["subnet"].update(resolution=10**6)),
        "expected resolutions up to 8192 px",
    ),
    "weights: network of 10^7 channels": (description(widened), "weights in"),
    "weights: one missing": (weights(lambda header, tensors: tensors.popitem()), "expected"),
    "weights: none": (weights(lambda header, tensors: tensors.clear()), "as its header states, found 0"),
    "weights: cut": (run_folder(lambda content: content[: len(content) // 2]), "expected weights in"),
    "weights: header of 2^62 bytes": (run_folder(lambda content: struct.pack("<Q", 2**62)), "expected weights in"),
    "weights: no file": (
        lambda room: evaluated(room, room.picture("det/epoch.png").parent),
        "expected a run folder with model.safetensors, found none",
    ),
    "tflite: cut": (tflite(lambda content: content[: len(content) // 2]), "found a cut or damaged one"),
    "tflite: cut, its latency": (tflite(lambda content: content[: len(content) // 2], "predict-latency"), "TFLite"),
    "tflite: nothing": (tflite(lambda content: b""), "expected a TFLite model in"),
    "tflite: an identifier alone": (tflite(lambda content: b"\xff\xff\xff\x7fTFL3"), "found a cut or damaged one"),
    "manifest: a list": (beside("manifest.json", "[]"), "schema_version"),
    "manifest: nested deep": (beside("manifest.json", "[" * 100_000), "nested too deeply"),
    "image: cut": (image(bomb_png(8)[:40]), "expected a readable image"),
    "image: 3.6 * 10^9 pixels": (image(bomb_png()), "expected a readable image"),
    "onnx: weights outside": (onnx_file(onnx_model("../weights.bin")), "expected all weights inside"),
    "onnx: weights at a path": (onnx_file(onnx_model("/etc/passwd")), "found them in '/etc/passwd'"),
    "onnx: weights beside it": (onnx_file(onnx_model("weights.bin")), "found them in 'weights.bin'"),
    "onnx: cut": (onnx_file(onnx_model()[:60]), "expected an ONNX model"),
    "onnx: metadata nested deep": (onnx_file(onnx_model(metadata="[" * 100_000)), "nested too deeply"),
    "onnx: metadata of a list": (onnx_file(onnx_model(metadata="[]")), "schema_version"),
    "subnet: nested deep": (subnet("[" * 100_000), "nested too deeply"),
    "subnet: a number": (subnet("1e999"), "expected"),
}
