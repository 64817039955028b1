"""Writes the one graph of a `.tflite` file op by op, with weights drawn at random; without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from ofa_det.latency.latencies import Precision

_FILE_IDENTIFIER: Final = b"TFL3"
_SCALE: Final = 0.05  # Of every 8-bit activation: how large the numbers are costs nothing.
_WEIGHT_SCALE: Final = 0.01
_VERSIONS: Final = {
    schema.BuiltinOperator.CONV_2D: 3,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
    schema.BuiltinOperator.HARD_SWISH: 1,
    schema.BuiltinOperator.RESHAPE: 1,
    schema.BuiltinOperator.QUANTIZE: 2,
}

Array = npt.NDArray[Any]


@dataclass(kw_only=True)
class GraphWriter:
    """Appends ops to the one graph of a `.tflite` file.

    Args:
        precision: float32, or uint8 for int8 activations and weights.
        seed: of the weights.
    """

    precision: Precision = "float32"
    seed: int = 0
    _model: Any = field(default_factory=schema.ModelT, init=False)
    _graph: Any = field(default_factory=schema.SubGraphT, init=False)
    _codes: dict[tuple[int, str], int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._model.version, self._model.subgraphs, self._model.operatorCodes = 3, [self._graph], []
        self._model.buffers = [schema.BufferT()]  # Buffer 0 is the empty one of computed tensors.
        self._graph.tensors, self._graph.operators, self._graph.inputs, self._graph.outputs = [], [], [], []

    @property
    def quantized(self) -> bool:
        """Whether activations are 8 bits wide."""
        return self.precision == "uint8"

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Of a tensor."""
        return tuple(self._graph.tensors[tensor].shape)

    def name(self, tensor: int) -> str:
        """Of a tensor."""
        return str(self._graph.tensors[tensor].name)

    def tensor(self, name: str, shape: Sequence[int], *, kind: int | None = None) -> int:
        """Appends a computed tensor, of the network's precision unless `kind` says another."""
        byte = schema.TensorType.INT8 if self.quantized else schema.TensorType.FLOAT32
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, [int(side) for side in shape], byte if kind is None else kind
        if tensor.type in (schema.TensorType.INT8, schema.TensorType.UINT8):
            zero_point = 128 if tensor.type == schema.TensorType.UINT8 else 0
            tensor.quantization = quantization([_SCALE], [zero_point])
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def input(self, name: str, shape: Sequence[int], *, kind: int | None = None) -> int:
        """Appends an input of the graph."""
        self._graph.inputs.append(self.tensor(name, shape, kind=kind))
        return int(self._graph.inputs[-1])

    def constant(self, name: str, values: Array, quantization: Any = None) -> int:
        """Appends a tensor with content: float32, int8 or int32."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        kinds = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(values.shape), kinds[values.dtype.name]
        tensor.buffer, tensor.quantization = len(self._model.buffers) - 1, quantization
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def weights(self, name: str, shape: Sequence[int], channel_axis: int) -> tuple[int, int]:
        """Appends weights and bias, drawn at random."""
        channels = shape[channel_axis]
        if not self.quantized:
            values = self._rng.normal(0, prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
            return self.constant(name, values), self.constant(f"{name}/bias", np.zeros(channels, np.float32))
        values = self._rng.integers(-127, 128, shape).astype(np.int8)
        per_channel = quantization([_WEIGHT_SCALE] * channels, [0] * channels, channel_axis)
        of_bias = quantization([_WEIGHT_SCALE * _SCALE] * channels, [0] * channels)
        bias = self.constant(f"{name}/bias", np.zeros(channels, np.int32), of_bias)
        return self.constant(name, values, per_channel), bias

    def op(
        self,
        code: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        *,
        custom: str = "",
        attributes: bytes = b"",
    ) -> int:
        """Appends an op; gives its first output."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, code), custom)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        if attributes:
            operator.customOptions = np.frombuffer(attributes, np.uint8)
        self._graph.operators.append(operator)
        return int(outputs[0])

    def finish(self, outputs: Sequence[int]) -> bytes:
        """The flatbuffer with these outputs."""
        self._graph.outputs = list(outputs)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), _FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, builtin: int, custom: str) -> int:
        key = (builtin, custom)
        if key not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.customCode = builtin, custom or None
            code.deprecatedBuiltinCode = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
            # The newest version that reads int8 in each op of this module; float does not mind.
            code.version = 1 if custom else _VERSIONS.get(builtin, 2)
            self._model.operatorCodes.append(code)
            self._codes[key] = len(self._model.operatorCodes) - 1
        return self._codes[key]


def quantization(scales: Sequence[float], zero_points: Sequence[int], axis: int = 0) -> Any:
    """Of a tensor, or of each of its channels along an axis."""
    found = schema.QuantizationParametersT()
    found.scale, found.zeroPoint = list(scales), list(zero_points)
    found.quantizedDimension = axis
    return found
