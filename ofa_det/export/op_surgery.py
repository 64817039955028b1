"""Appends TFLite_Detection_PostProcess, or named raw outputs, to a converted network by editing its flatbuffer.

The op is custom to TFLite: TensorFlow has no kernel of it, and the detour over a composite function reorders the
outputs. Inputs, attributes and outputs follow `tensorflow/lite/kernels/detection_postprocess.cc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ofa_det.arch.description import PostProcessConfig
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP, op_attributes, write_attributes
from ofa_det.artefacts.tflite_content import read_tables, write_tables
from ofa_det.detection.box_coder import CODE_WEIGHTS, TF_BOX_ORDER
from ofa_det.evaluation.tflite_raw import RAW_OUTPUTS

TF_BOX_SCALES = tuple(CODE_WEIGHTS[index] for index in TF_BOX_ORDER)
"""y_scale, x_scale, h_scale and w_scale of the box codes as they are trained."""


def append_postprocess(
    content: bytes,
    anchors: NDArray[np.float32],
    config: PostProcessConfig,
    *,
    max_classes_per_detection: int = 1,
    box_scales: Sequence[float] = TF_BOX_SCALES,
) -> bytes:
    """Joins the levels, applies the sigmoid and ends the network in the post-processing op.

    The levels are joined in float32, behind their DEQUANTIZE, so that an int8 level keeps its own range. The sigmoid is
    float32 too: an int8 one has steps of 1/256, coarse next to the score threshold, and saves under 0.3 ms on a desktop
    core even at 2,034 anchors and 90 classes.

    Args:
        content: flatbuffer whose float32 outputs are the box codes (1, A_level, 4), as (ty, tx, th, tw), of each level,
            followed by the logits (1, A_level, C) of each level.
        anchors: (A, 4) as (cx, cy, w, h), normalised.
        config: attributes of the op.
        max_classes_per_detection: attribute of the op, of fast suppression.
        box_scales: y_scale, x_scale, h_scale and w_scale, that the box codes have been multiplied with.

    Returns:
        A flatbuffer with the outputs boxes (1, N, 4) as (ymin, xmin, ymax, xmax), classes (1, N), scores (1, N) and
        count (1,), N = max_detections * max_classes_per_detection, all float32.

    Raises:
        ValueError: the outputs are not such pairs, or do not count as many boxes as there are anchors.
    """
    graph = _GraphEditor(content)
    box_codes, scores = _joined(graph, anchors)
    cx_cy_w_h = anchors.astype(np.float32)
    anchor_tensor = graph.add_constant("anchors", cx_cy_w_h[:, [1, 0, 3, 2]])
    rows = config.max_detections * max_classes_per_detection
    detections = [
        graph.add_tensor(POSTPROCESS_OP if index == 0 else f"{POSTPROCESS_OP}:{index}", shape)
        for index, shape in enumerate([(1, rows, 4), (1, rows), (1, rows), (1,)])
    ]
    attributes = op_attributes(
        config,
        num_classes=graph.shape(scores)[2],
        box_scales=box_scales,
        max_classes_per_detection=max_classes_per_detection,
    )
    graph.add_custom_op(POSTPROCESS_OP, [box_codes, scores, anchor_tensor], detections, write_attributes(attributes))
    graph.outputs = detections
    return graph.to_bytes()


def append_raw_outputs(content: bytes, anchors: NDArray[np.float32]) -> bytes:
    """Joins the levels and applies the sigmoid; suppression is left to whoever reads the outputs.

    Args:
        content: as of `append_postprocess`.
        anchors: as of `append_postprocess`, to check their number.

    Returns:
        A flatbuffer with the outputs of `RAW_OUTPUTS`: box codes (1, A, 4) as (ty, tx, th, tw), and scores (1, A, C).

    Raises:
        ValueError: as of `append_postprocess`.
    """
    graph = _GraphEditor(content)
    graph.outputs = list(_joined(graph, anchors))
    return graph.to_bytes()


def _joined(graph: _GraphEditor, anchors: NDArray[np.float32]) -> tuple[int, int]:
    """Box codes and scores of all levels."""
    boxes, logits = _halves(graph.outputs)
    box_codes = graph.concatenate(RAW_OUTPUTS[0], boxes)
    scores = graph.logistic(RAW_OUTPUTS[1], graph.concatenate("logits", logits))
    count = graph.shape(scores)[1]
    if graph.shape(box_codes) != (1, count, 4) or anchors.shape != (count, 4):
        raise ValueError(
            f"expected box codes, logits and anchors of equal number, "
            f"found shapes {graph.shape(box_codes)}, {graph.shape(scores)} and {anchors.shape}"
        )
    return box_codes, scores


def _halves(outputs: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    if not outputs or len(outputs) % 2:
        raise ValueError(f"expected box codes and logits of each level, found {len(outputs)} outputs")
    return outputs[: len(outputs) // 2], outputs[len(outputs) // 2 :]


class _GraphEditor:
    """The only subgraph of a flatbuffer, to which tensors and ops are appended."""

    def __init__(self, content: bytes) -> None:
        self._model = read_tables(content, where="the converted file")
        if len(self._model.subgraphs) != 1:
            raise ValueError(f"expected one subgraph, found {len(self._model.subgraphs)}")
        self._graph = self._model.subgraphs[0]

    @property
    def outputs(self) -> list[int]:
        """Tensors that the graph gives."""
        return list(self._graph.outputs)

    @outputs.setter
    def outputs(self, tensors: list[int]) -> None:
        self._graph.outputs = tensors

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(int(size) for size in self._graph.tensors[tensor].shape)

    def add_tensor(self, name: str, shape: Sequence[int], buffer: int = 0) -> int:
        """Appends a float32 tensor; buffer 0 is the empty one of computed tensors."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), schema.TensorType.FLOAT32, buffer
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def add_constant(self, name: str, values: NDArray[np.float32]) -> int:
        """Appends a float32 tensor with content."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.astype("<f4").tobytes(), dtype=np.uint8)
        self._model.buffers.append(buffer)
        return self.add_tensor(name, values.shape, len(self._model.buffers) - 1)

    def concatenate(self, name: str, tensors: Sequence[int]) -> int:
        """Joins (1, A_level, values) along the anchors."""
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        first = self.shape(tensors[0])
        total = sum(self.shape(tensor)[1] for tensor in tensors)
        joined = self.add_tensor(name, (first[0], total, *first[2:]))
        self._add_builtin_op("CONCATENATION", tensors, [joined], schema.BuiltinOptions.ConcatenationOptions, options)
        return joined

    def logistic(self, name: str, tensor: int) -> int:
        """Applies the sigmoid."""
        result = self.add_tensor(name, self.shape(tensor))
        self._add_builtin_op("LOGISTIC", [tensor], [result], schema.BuiltinOptions.NONE, None)
        return result

    def add_custom_op(self, name: str, inputs: Sequence[int], outputs: Sequence[int], attributes: bytes) -> None:
        """Appends an op that the runtime finds by its name."""
        op = self._add_op(self._custom_code(name), inputs, outputs)
        op.customOptions = np.frombuffer(attributes, dtype=np.uint8)

    def to_bytes(self) -> bytes:
        """The edited flatbuffer."""
        return write_tables(self._model)

    def _add_builtin_op(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options_type: int, options: Any
    ) -> None:
        op = self._add_op(self._builtin_code(getattr(schema.BuiltinOperator, name)), inputs, outputs)
        op.builtinOptionsType, op.builtinOptions = options_type, options

    def _add_op(self, code: int, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = code, list(inputs), list(outputs)
        self._graph.operators.append(op)
        return op

    def _builtin_code(self, builtin: int) -> int:
        """Index of a code of version 1, appended unless the network already has it."""
        for index, code in enumerate(self._model.operatorCodes):
            if code.builtinCode == builtin and code.version == 1:
                return index
        code = schema.OperatorCodeT()
        # Codes from 127 on do not fit the old byte-wide field, where 127 then stands for "see builtinCode".
        code.deprecatedBuiltinCode = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
        code.builtinCode, code.version = builtin, 1
        return self._append_code(code)

    def _custom_code(self, name: str) -> int:
        code = schema.OperatorCodeT()
        code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.customCode, code.version = name, 1
        return self._append_code(code)

    def _append_code(self, code: Any) -> int:
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1
