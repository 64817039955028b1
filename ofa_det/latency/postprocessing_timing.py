"""Measures the law of post-processing on a device, with files of one op each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from ai_edge_litert import schema_py_generated as schema

from ofa_det.arch.description import PostProcessConfig
from ofa_det.latency.graph_writer import GraphWriter
from ofa_det.latency.op_files import postprocess_file
from ofa_det.latency.postprocessing import PostprocessingLaw, Suppression

ANCHORS: Final = (600, 3000)
CLASSES: Final = (4, 90)
CANDIDATES_IN_CLASS: Final = (0, 50, 300)

_ELEMENTS: Final = (1, 10_000, 20)
_SMALL: Final = (1, 1, 20)
_FLOAT: Final = schema.TensorType.FLOAT32
_INT8: Final = schema.TensorType.INT8
_UINT8: Final = schema.TensorType.UINT8

Timed = Callable[[str, Callable[[], float]], float]
"""Gives the time in ms that is known under a name, or measures it."""


class Timer(Protocol):
    """Times files on noise: floats between -0.5 and 0.5, as `benchmark_model` draws them."""

    @property
    def name(self) -> str:
        """Of the device."""
        ...

    @property
    def runtime(self) -> str:
        """Of the software."""
        ...

    def median_ms(self, content: bytes) -> float:
        """Time of a file."""
        ...


def measure_law(timer: Timer, timed: Timed) -> PostprocessingLaw:
    """Measures the ops over lists and TFLite_Detection_PostProcess, and fits the law.

    Args:
        timer: of the device.
        timed: keeps what was measured.
    """
    op_ms = timed("op", lambda: timer.median_ms(op_file("sigmoid", _SMALL)))
    elements = _ELEMENTS[1] * _ELEMENTS[2] / 1e6
    rates = {}
    for kind in ("reshape", "concat", "quantize", "dequantize", "sigmoid"):
        ms = timed(kind, partial(_op_ms, timer, kind))
        rates[kind] = max(0.0, ms - op_ms) / elements
    law = PostprocessingLaw(
        measured_on=f"{timer.name}, {timer.runtime}",
        copied=max(rates["reshape"], rates["concat"]),
        quantized=rates["quantize"],
        dequantized=rates["dequantize"],
        activated=rates["sigmoid"],
        op=op_ms * 1e6,
        anchor=0.0,
        fast_score=0.0,
        regular_score=0.0,
        pair=0.0,
    )
    measured = []
    for suppression, config in suppressions():
        nms = "regular" if suppression.regular_nms else "fast"
        name = f"{nms} {suppression.anchors} {suppression.classes} {suppression.candidates:.0f}"
        measured.append((suppression, timed(name, partial(_suppression_ms, timer, suppression, config))))
    return law.with_suppression(measured)


def _op_ms(timer: Timer, kind: str) -> float:
    return timer.median_ms(op_file(kind, _ELEMENTS))


def _suppression_ms(timer: Timer, suppression: Suppression, config: PostProcessConfig) -> float:
    return timer.median_ms(postprocess_file(suppression.anchors, suppression.classes, config))


def suppressions() -> Sequence[tuple[Suppression, PostProcessConfig]]:
    """Calls of the post-processing op, and the attributes that give them so many candidates on noise."""
    found = []
    for regular in (True, False):
        for anchors in ANCHORS:
            for classes in CLASSES:
                for in_class in CANDIDATES_IN_CLASS:
                    # A share s of scores drawn from -0.5 to 0.5 lies above 0.5 - s.
                    threshold = 0.5 - in_class / anchors if in_class else 1.0
                    config = PostProcessConfig(score_threshold=threshold, regular_nms=regular)
                    suppression = Suppression(
                        anchors=anchors,
                        classes=classes,
                        regular_nms=regular,
                        max_detections=config.max_detections,
                        detections_per_class=config.detections_per_class,
                        candidates=float(in_class * classes),
                        counted=True,
                    )
                    found.append((suppression, config))
    return found


def op_file(kind: str, shape: tuple[int, ...]) -> bytes:
    """A file of one op over lists.

    Args:
        kind: of the op, as `TailOp` has it.
        shape: of what it writes.
    """
    writer = GraphWriter()
    tensor = writer.tensor
    if kind == "reshape":
        options = schema.ReshapeOptionsT()
        options.newShape = [1, shape[1] * shape[2]]
        source = writer.input("x", shape)
        result = writer.op("RESHAPE", [source], [tensor("y", options.newShape)], options)
    elif kind == "concat":
        joined = schema.ConcatenationOptionsT()
        joined.axis = 1
        half = (1, shape[1] // 2, shape[2])
        sources = [writer.input(name, half) for name in ("a", "b")]
        result = writer.op("CONCATENATION", sources, [tensor("y", shape)], joined)
    elif kind == "quantize":
        source = writer.input("x", shape, kind=_UINT8)
        result = writer.op("QUANTIZE", [source], [tensor("y", shape, kind=_INT8)], schema.QuantizeOptionsT())
    elif kind == "dequantize":
        source = writer.input("x", shape, kind=_INT8)
        result = writer.op("DEQUANTIZE", [source], [tensor("y", shape, kind=_FLOAT)], schema.DequantizeOptionsT())
    else:
        result = writer.op("LOGISTIC", [writer.input("x", shape)], [tensor("y", shape)])
    return writer.finish([result])
