"""What the tests of several packages share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from ofa_det.detection.postprocessing import PostProcessConfig

WriteDetector = Callable[..., Path]


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
