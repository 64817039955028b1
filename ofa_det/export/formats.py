"""The formats of an export, each described by one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ofa_det.latency.latencies import Precision

ExportFormat = Literal[
    "tflite-float32",
    "tflite-float16",
    "tflite-dynamic",
    "tflite-int8",
    "tflite-int8-qat",
    "onnx",
    "onnx-nms",
]
InputType = Literal["uint8", "int8", "float32"]


@dataclass(frozen=True, kw_only=True)
class FormatRecord:
    """What a format is and what is refused of it.

    Args:
        file_name: of the model.
        summary: what it holds, for the manifest.
        input_types: that its file can take; the first is the default.
        latency_precision: of the latency model that predicts it; None where there is none.
        tolerance: greatest difference of a score, or of a box code in units of the largest (at least 1), from torch; a
            file that differs more is refused. None where rounding is judged by the noise and by AP.
        least_sqnr_db: signal to quantization noise of the raw outputs, box codes of detections and scores alike, below
            which a file is refused whatever its AP: noise of half the signal. None where `tolerance` says more.
        quantized: whether activations are int8, with ranges.
        trained_ranges: whether the ranges come from a quantization-aware training.
    """

    file_name: str
    summary: str
    input_types: tuple[InputType, ...]
    latency_precision: Precision | None
    tolerance: float | None
    least_sqnr_db: float | None = None
    quantized: bool = False
    trained_ranges: bool = False

    @property
    def is_onnx(self) -> bool:
        """Whether torch exports it, and not TensorFlow."""
        return self.file_name.endswith(".onnx")


TFLITE_FILE: Final = "model.tflite"
ONNX_FILE: Final = "model.onnx"
MODEL_FILES: Final = (TFLITE_FILE, ONNX_FILE)

FORMATS: Final[Mapping[ExportFormat, FormatRecord]] = {
    "tflite-float32": FormatRecord(
        file_name=TFLITE_FILE,
        summary="float32 throughout",
        input_types=("float32",),
        latency_precision="float32",
        tolerance=1e-4,
    ),
    # Weights of 11 significant bits; 60 layers of them add up to about a thousandth of a score, 0.018 of the worst of
    # 16 images of blood cells, at no loss of AP.
    "tflite-float16": FormatRecord(
        file_name=TFLITE_FILE,
        summary="float16 weights, which a CPU widens once and a GPU computes with",
        input_types=("float32",),
        latency_precision="float32",
        tolerance=5e-2,
    ),
    # The runtime quantizes activations image by image. No published latency is of it; float32 is an upper bound.
    "tflite-dynamic": FormatRecord(
        file_name=TFLITE_FILE,
        summary="int8 weights per output channel; activations are float32, quantized on the fly within convolutions",
        input_types=("float32",),
        latency_precision="float32",
        tolerance=None,
        least_sqnr_db=6.0,
    ),
    "tflite-int8": FormatRecord(
        file_name=TFLITE_FILE,
        summary="int8 after training, weights per output channel, activations per tensor",
        input_types=("uint8", "int8"),
        latency_precision="uint8",
        tolerance=None,
        least_sqnr_db=6.0,
        quantized=True,
    ),
    "tflite-int8-qat": FormatRecord(
        file_name=TFLITE_FILE,
        summary="int8 as trained, weights per output channel, activations per tensor in the ranges of the training",
        input_types=("uint8", "int8"),
        latency_precision="uint8",
        tolerance=None,
        least_sqnr_db=6.0,
        quantized=True,
        trained_ranges=True,
    ),
    "onnx": FormatRecord(
        file_name=ONNX_FILE,
        summary="float32, decoded boxes and scores of every anchor",
        input_types=("uint8",),
        latency_precision=None,
        tolerance=1e-4,
    ),
    "onnx-nms": FormatRecord(
        file_name=ONNX_FILE,
        summary="float32 with NonMaxSuppression inside",
        input_types=("uint8",),
        latency_precision=None,
        tolerance=1e-4,
    ),
}
