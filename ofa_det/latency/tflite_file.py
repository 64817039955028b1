"""Any `.tflite` file as the layer records that the latency model reads; no interpreter and no TensorFlow."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Final

from ai_edge_litert import schema_py_generated as schema

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.layers import RESIZE_FACTOR, Activation, Layer, LayerKind, Shape
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP, read_attributes
from ofa_det.artefacts.tflite_content import broken_model, op_name, read_tables
from ofa_det.latency.latencies import Precision
from ofa_det.latency.postprocessing import (
    DetectionTail,
    Suppression,
    TailKind,
    TailOp,
    new_suppression,
)

_KERNELS: Final[Mapping[str, LayerKind]] = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "fully_connected",
}
_FUSED: Final[Mapping[int, Activation]] = {
    schema.ActivationFunctionType.RELU: "relu",
    schema.ActivationFunctionType.RELU_N1_TO_1: "relu",
    schema.ActivationFunctionType.RELU6: "relu6",
}
_ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "RELU": "relu",
    "RELU6": "relu6",
    "HARD_SWISH": "hswish",
    "LOGISTIC": "hsigmoid",
}
# One pass over the elements. What a plan has no kind for stands as `add`, which costs the same.
_PASSES: Final[Mapping[str, LayerKind]] = {
    **dict.fromkeys(("MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D"), "pool"),
    **dict.fromkeys(("MUL", "DIV"), "multiply"),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), "resize"),
    **dict.fromkeys((*_ACTIVATIONS, "ADD", "SUB", "MAXIMUM", "MINIMUM", "PRELU", "LEAKY_RELU", "TANH"), "add"),
    **dict.fromkeys(("SOFTMAX", "PAD"), "add"),
    "CONCATENATION": "concat",
}

# What works on lists of boxes and scores, or passes features on in another form.
_TAIL: Final[Mapping[str, TailKind]] = {
    "RESHAPE": "reshape",
    "CONCATENATION": "concat",
    "QUANTIZE": "quantize",
    "DEQUANTIZE": "dequantize",
    "LOGISTIC": "sigmoid",
    "SOFTMAX": "sigmoid",
}


@dataclass(frozen=True, kw_only=True)
class TfliteNetwork:
    """The main graph of a `.tflite` file.

    Args:
        layers: the ops that the latency model counts, in the file's order, named after their output tensors. An
            activation that is an op of its own is the `activation` of the layer before it, as in a layer plan.
        tail: ops over lists of boxes and scores, and TFLite_Detection_PostProcess.
        precision: "uint8" if most multiply-accumulates are on 8-bit activations, signed or not.
        uncounted_ops: number of the other ops by name: whatever there is no cost for.
        layer_of_op: for each op of the graph, the index of the layer that it is (a part of), or None.
    """

    layers: tuple[Layer, ...]
    tail: DetectionTail
    precision: Precision
    uncounted_ops: Mapping[str, int]
    layer_of_op: tuple[int | None, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(layer.macs for layer in self.layers)


def read_tflite(path: str | Path) -> TfliteNetwork:
    """Reads the layers of a `.tflite` file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as in `parse_tflite`.
    """
    return parse_tflite(Path(path).read_bytes(), where=str(path))


def parse_tflite(content: bytes, *, where: str) -> TfliteNetwork:
    """Reads the layers of the content of a `.tflite` file.

    Args:
        content: the flatbuffer.
        where: what is read, for the error.

    Raises:
        ValueError: not a TFLite flatbuffer, a broken one, or a batch, kernel or stride that `Layer` cannot say.
    """
    model = read_tables(content, where=where)
    if not model.subgraphs or not model.subgraphs[0].operators:
        raise ValueError(f"expected a graph with ops in {where}, found none")
    try:
        return _GraphReader(model, where).read()
    except (LookupError, TypeError, AttributeError, ArithmeticError, struct.error) as error:  # dangling indices
        raise broken_model(where) from error


class _GraphReader:
    """Walks the operators of the main graph once, from inputs to outputs."""

    def __init__(self, model: Any, where: str) -> None:
        self._model = model
        self._graph = model.subgraphs[0]
        self._where = where
        self._layers: list[Layer] = []
        self._layer_of_tensor: dict[int, int] = {}
        self._variables = {int(tensor) for tensor in self._graph.inputs}
        self._uncounted: Counter[str] = Counter()
        self._tail: list[TailOp] = []
        self._suppression: Suppression | None = None
        self._layer_of_op: list[int | None] = []
        self._macs_by_precision: Counter[Precision] = Counter()

    def read(self) -> TfliteNetwork:
        for op in self._graph.operators:
            name = self._op_name(op)
            is_layer = True
            if name in _KERNELS:
                self._append_kernel(op, _KERNELS[name])
            elif not self._folds_into_producer(op, name):
                is_layer = self._is_pass(op, name)
                if is_layer:
                    self._append_pass(op, _PASSES[name])
                else:
                    self._append_to_tail(op, name)
            self._layer_of_op.append(self._layer_of_tensor.get(int(op.outputs[0])) if is_layer else None)
            # Weights may come out of a DEQUANTIZE (float16 files); only what depends on the input is a variable.
            if not self._variables.isdisjoint(map(int, op.inputs)):
                self._variables.update(map(int, op.outputs))
        precision: Precision = max(self._macs_by_precision, key=self._macs_by_precision.__getitem__, default="float32")
        return TfliteNetwork(
            layers=tuple(self._layers),
            tail=DetectionTail(ops=tuple(self._tail), suppression=self._suppression),
            precision=precision,
            uncounted_ops=dict(self._uncounted),
            layer_of_op=tuple(self._layer_of_op),
        )

    def _append_to_tail(self, op: Any, name: str) -> None:
        if name == POSTPROCESS_OP:
            self._suppression = self._suppression_of(op)
        elif name in _TAIL:
            if self._variables_of(op):  # Weights of a float16 file are dequantized once.
                output = op.outputs[0]
                self._tail.append(TailOp(name=self._tensor_name(output), kind=_TAIL[name], elements=self._size(output)))
        else:
            self._uncounted[name] += 1

    def _suppression_of(self, op: Any) -> Suppression:
        """The attributes of the post-processing op; those that a file leaves out have the kernel's defaults."""
        found = {}
        if op.customOptions is not None and len(op.customOptions):
            found = read_attributes(op)
        postprocess = PostProcessConfig(
            score_threshold=min(1.0, max(0.0, float(found.get("nms_score_threshold", 0.0)))),
            iou_threshold=min(1.0, max(0.0, float(found.get("nms_iou_threshold", 0.6)))),
            max_detections=int(found.get("max_detections", 100)),
            detections_per_class=int(found.get("detections_per_class", 100)),
            regular_nms=bool(found.get("use_regular_nms", False)),
        )
        _, anchors, columns = (1, 0, 0, *self._shape(op.inputs[1]))[-3:]
        return new_suppression(anchors, max(1, columns), postprocess)

    def _is_pass(self, op: Any, name: str) -> bool:
        """Whether an op walks over feature maps; what joins and scores the lists (1, A, C) is post-processing."""
        is_list = len(self._shape(op.outputs[0])) == 3
        return name in _PASSES and not is_list and (name != "CONCATENATION" or self._joins_channels(op))

    def _op_name(self, op: Any) -> str:
        return op_name(self._model.operatorCodes[op.opcodeIndex])

    def _append_kernel(self, op: Any, kind: LayerKind) -> None:
        weights = self._shape(op.inputs[1])
        channels, height, width = self._image_shape(op.inputs[0])
        kernel_size, stride, options = 1, 1, op.builtinOptions
        out_channels = weights[0]
        if kind == "fully_connected":
            channels = weights[1]
            height, width = max(1, self._size(op.inputs[0]) // channels), 1
        else:
            _, out_height, out_width = self._image_shape(op.outputs[0])
            kernel_size = self._same(op, "kernel", weights[1], weights[2])
            stride = self._same(op, "stride", options.strideH, options.strideW)
            # A Layer pads SAME. For VALID padding this is the input that SAME would need: the output is exact.
            height = height if -(-height // stride) == out_height else out_height * stride
            width = width if -(-width // stride) == out_width else out_width * stride
            out_channels, channels = (weights[3],) * 2 if kind == "depthwise" else (weights[0], weights[3])
        layer = Layer(
            name=self._tensor_name(op.outputs[0]),
            kind=kind,
            inputs=(self._tensor_name(op.inputs[0]),),
            input_shapes=(Shape(channels, height, width),),
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            activation=_FUSED.get(options.fusedActivationFunction, "none") if options else "none",
        )
        self._append(op, layer)
        is_byte = self._graph.tensors[op.inputs[0]].type in (schema.TensorType.INT8, schema.TensorType.UINT8)
        self._macs_by_precision["uint8" if is_byte else "float32"] += layer.macs

    def _append_pass(self, op: Any, kind: LayerKind) -> None:
        variables = self._variables_of(op)
        if not variables:
            return  # Constant folding left to the runtime: done once, before the first image.
        if kind != "concat":
            variables.sort(key=self._size, reverse=True)  # A broadcast operand may come first.
        shapes = [self._image_shape(tensor) for tensor in variables]
        written = self._image_shape(op.outputs[0])
        if kind == "resize" and written[1:] != tuple(RESIZE_FACTOR * side for side in shapes[0][1:]):
            kind = "add"  # By another factor.
        if kind in ("add", "multiply"):
            shapes[0] = max(shapes[0], written, key=prod)  # A pad writes more than it reads.
        layer = Layer(
            name=self._tensor_name(op.outputs[0]),
            kind=kind,
            inputs=tuple(map(self._tensor_name, variables)),
            input_shapes=tuple(shapes),
            out_channels=written.channels if kind == "concat" else shapes[0].channels,
        )
        self._append(op, layer)

    def _joins_channels(self, op: Any) -> bool:
        """Whether feature maps (1, H, W, C) are put side by side, not lists of boxes or scores end to end."""
        rank, options = len(self._shape(op.outputs[0])), op.builtinOptions
        return rank == 4 and options is not None and options.axis in (-1, rank - 1)

    def _variables_of(self, op: Any) -> list[int]:
        return [int(tensor) for tensor in op.inputs if int(tensor) in self._variables]

    def _append(self, op: Any, layer: Layer) -> None:
        self._layer_of_tensor[int(op.outputs[0])] = len(self._layers)
        self._layers.append(layer)

    def _folds_into_producer(self, op: Any, name: str) -> bool:
        """Makes an activation op part of the layer before it, as layer plans have it."""
        variables = self._variables_of(op)
        if len(variables) != 1 or variables[0] not in self._layer_of_tensor:
            return False
        index = self._layer_of_tensor[variables[0]]
        producer = self._layers[index]
        if name in _ACTIVATIONS and producer.activation == "none":
            activation = _ACTIVATIONS[name]
        elif name == "MUL" and producer.activation == "relu6":
            activation = "hsigmoid"  # The converter writes hsigmoid as relu6(x + 3) * (1/6), with the 3 in a bias.
        else:
            return False
        self._layers[index] = replace(producer, activation=activation)
        self._layer_of_tensor[int(op.outputs[0])] = index
        return True

    def _same(self, op: Any, what: str, vertical: int, horizontal: int) -> int:
        if vertical != horizontal:
            raise ValueError(
                f"expected a square {what} in {self._where}, found {vertical}x{horizontal} in "
                f"{self._tensor_name(op.outputs[0])}; the latency model has no figures for it"
            )
        return int(vertical)

    def _tensor_name(self, tensor: int) -> str:
        name = self._graph.tensors[tensor].name
        return str(name.decode(errors="replace")) if name else f"tensor_{tensor}"

    def _shape(self, tensor: int) -> tuple[int, ...]:
        shape = self._graph.tensors[tensor].shape
        return () if shape is None else tuple(int(side) for side in shape)

    def _size(self, tensor: int) -> int:
        return prod(self._shape(tensor))

    def _image_shape(self, tensor: int) -> Shape:
        """Shape of an image's features; lists (1, N, C) are N high, vectors 1."""
        shape = self._shape(tensor)
        if len(shape) == 4 and shape[0] != 1:
            raise ValueError(f"expected batch 1 in {self._where}, found {shape} in {self._tensor_name(tensor)}")
        *_, height, width, channels = (1, 1, 1, *((shape[1], 1, shape[2]) if len(shape) == 3 else shape))
        return Shape(channels, height, width)
