from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ofa_det.arch.description import PostProcessConfig
from ofa_det.detection.box_coder import decode, encode
from ofa_det.detection.postprocessing import postprocess
from ofa_det.export.op_surgery import append_postprocess

LEVELS = (5, 3)
CLASSES = 4
ANCHORS = torch.tensor(
    [[0.1 + 0.1 * index, 0.8 - 0.09 * index, 0.2 + 0.02 * index, 0.35 - 0.02 * index] for index in range(sum(LEVELS))]
)


def network_without_layers(levels=LEVELS, classes=CLASSES) -> bytes:
    """A flatbuffer whose inputs, box codes and logits of each level, are its outputs."""
    graph = schema.SubGraphT()
    graph.tensors = []
    for values in (4, classes):
        for count in levels:
            tensor = schema.TensorT()
            tensor.name, tensor.shape, tensor.type = f"{values}x{count}", [1, count, values], schema.TensorType.FLOAT32
            graph.tensors.append(tensor)
    graph.inputs = graph.outputs = list(range(len(graph.tensors)))
    graph.operators = []
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [], [schema.BufferT()]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(content: bytes, codes: np.ndarray, logits: np.ndarray) -> list[np.ndarray]:
    """Outputs for box codes (A, 4) as (ty, tx, th, tw) and logits (A, C)."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    splits = np.cumsum(LEVELS)[:-1]
    values = [*np.split(codes, splits), *np.split(logits, splits)]
    for entry, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(entry["index"], value[None].astype(np.float32))
    interpreter.invoke()
    return [interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()]


def tf_order(codes: torch.Tensor) -> np.ndarray:
    return codes[:, [1, 0, 3, 2]].numpy()


@pytest.mark.parametrize("regular", [True, False])
def test_op_gives_what_the_reference_gives(regular):
    config = PostProcessConfig(score_threshold=0.3, iou_threshold=0.4, max_detections=100, regular_nms=regular)
    generator = torch.Generator().manual_seed(1)
    codes = torch.randn((len(ANCHORS), 4), generator=generator)
    logits = torch.randn((len(ANCHORS), CLASSES), generator=generator)

    found = run(append_postprocess(network_without_layers(), ANCHORS.numpy(), config), tf_order(codes), logits.numpy())
    boxes, scores, labels = postprocess(decode(codes, ANCHORS), logits.sigmoid(), config)

    count = int(found[3][0])
    assert 3 < count == len(boxes) < logits.numel()
    np.testing.assert_allclose(found[0][0, :count], boxes[:, [1, 0, 3, 2]], atol=1e-6)
    np.testing.assert_array_equal(found[1][0, :count], labels)
    np.testing.assert_allclose(found[2][0, :count], scores, atol=1e-6)


def test_codes_of_known_boxes_come_out_as_these_boxes():
    boxes = torch.tensor([[0.05 * i, 0.1, 0.05 * i + 0.2, 0.3 + 0.05 * i] for i in range(len(ANCHORS))])
    logits = np.full((len(ANCHORS), CLASSES), -20.0)
    logits[6, 2] = 3.0
    content = append_postprocess(network_without_layers(), ANCHORS.numpy(), PostProcessConfig())

    found_boxes, classes, scores, count = run(content, tf_order(encode(boxes, ANCHORS)), logits)

    assert count == 1
    xmin, ymin, xmax, ymax = boxes[6].tolist()
    np.testing.assert_allclose(found_boxes[0, 0], [ymin, xmin, ymax, xmax], atol=1e-6)
    assert classes[0, 0] == 2
    assert scores[0, 0] == pytest.approx(1 / (1 + np.exp(-3)))


def test_outputs_have_the_names_and_shapes_of_the_tf_models():
    config = PostProcessConfig(max_detections=7)
    interpreter = Interpreter(model_content=append_postprocess(network_without_layers(), ANCHORS.numpy(), config))

    outputs = interpreter.get_output_details()

    name = "TFLite_Detection_PostProcess"
    assert [entry["name"] for entry in outputs] == [name, f"{name}:1", f"{name}:2", f"{name}:3"]
    assert [entry["shape"].tolist() for entry in outputs] == [[1, 7, 4], [1, 7], [1, 7], [1]]
    assert {entry["dtype"] for entry in outputs} == {np.float32}


def test_anchors_of_another_number_are_refused():
    with pytest.raises(ValueError, match="equal number"):
        append_postprocess(network_without_layers(), ANCHORS[:-1].numpy(), PostProcessConfig())
