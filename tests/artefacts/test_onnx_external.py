"""Ways to hide from us, but not from the runtime, that a model's weights are in another file."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ofa_det.artefacts.onnx_external import external_data

VALUES = np.arange(4, dtype=np.float32)
OUTPUT = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
GRAPH, OVERLONG_GRAPH = b"\x3a", b"\xba\x80\x80\x80\x10"
"""The tag of a model's graph, and one of five bytes whose highest bits a parser drops."""


def model(levels: int = 1) -> bytes:
    """Gives weights that stand in the file `secret`, from within so many branches of conditions."""
    weight = onnx.numpy_helper.from_array(VALUES, "w")
    onnx.external_data_helper.set_external_data(weight, "secret")
    weight.ClearField("raw_data")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [], [OUTPUT], [weight])
    nothing = onnx.helper.make_node("Constant", [], ["y"], value=onnx.numpy_helper.from_array(VALUES - 1))
    other = onnx.helper.make_graph([nothing], "other", [], [OUTPUT])
    condition = onnx.numpy_helper.from_array(np.array(True), "c")
    for _ in range(levels):
        node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=other)
        graph = onnx.helper.make_graph([node], "g", [], [OUTPUT], [condition])
    versions = {"opset_imports": [onnx.helper.make_opsetid("", 18)], "ir_version": 9}
    return onnx.helper.make_model(graph, **versions).SerializeToString()


def overlong_tag(content: bytes) -> bytes:
    body = onnx.load_model_from_string(content).graph.SerializeToString()
    start = content.index(body)
    length = content[content.rindex(GRAPH, 0, start) + 1 : start]
    return content.replace(GRAPH + length + body, OVERLONG_GRAPH + length + body)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(model(), id="plainly"),
        pytest.param(model(levels=28), id="deep"),
        pytest.param(b"\xa3\x06\xa4\x06" + model(), id="behind a group"),
        pytest.param(b"\xa1\x06" + b"\xff" * 8 + model(), id="behind eight bytes"),
        pytest.param(overlong_tag(model()), id="by a long tag"),
    ],
)
def test_a_file_that_the_runtime_would_read_is_named(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    monkeypatch.chdir(tmp_path)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.run(None, {})[0].tolist() == VALUES.tolist()
    assert external_data(content) == "secret"


def test_a_field_of_another_type_does_not_hide_the_next() -> None:
    """Of the tensor, whose external data a parser then finds behind it."""
    tensor = onnx.load_model_from_string(model(levels=0)).graph.initializer[0].SerializeToString()
    mistyped = b"\x69" + b"\xff" * 8 + tensor
    assert onnx.TensorProto.FromString(mistyped).external_data[0].value == "secret"
    assert external_data(message(7, message(5, mistyped))) == "secret"


def message(number: int, content: bytes) -> bytes:
    """A field that holds a message of up to 127 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content
