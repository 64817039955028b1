"""How a detector becomes a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ofa_det.data.splits import DataConfig

ExportFormat = Literal["tflite-int8", "tflite-float32", "onnx"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Export of one trained detector; suppression is that of its training and search.

    Args:
        model: run folder of a detector.
        data: the data set, in COCO layout; training images calibrate, validation images measure AP.
        format: tflite-int8 (uint8 input, as OVIC wants), tflite-float32 or onnx.
        output: export folder; files of an earlier export are replaced.
        calibration_images: training images that set the ranges of int8 activations, taken at even distances.
        verification_images: of these, how many the file and torch are compared on.
        ap_tolerance: largest fall of AP, as a fraction, that passes without a warning.
        device: phone that the latency of a .tflite file is predicted for.
        runtime: of the phone; by default the device's newest with published figures.
    """

    model: str
    data: DataConfig
    format: ExportFormat = "tflite-int8"
    output: str = "runs/export"
    # On a detector trained on BCCD (224 px, float32 AP 0.286), 16, 50, 100 and 200 calibration images gave int8 AP
    # 0.285, 0.283, 0.288 and 0.285, and box codes of 19.2, 18.6, 18.2 and 17.8 dB: more images only widen the ranges.
    calibration_images: int = 100
    verification_images: int = 16
    ap_tolerance: float = 0.01
    device: str = "pixel2"
    runtime: str | None = None

    def __post_init__(self) -> None:
        if self.format not in get_args(ExportFormat):
            raise ValueError(f"expected a format of {', '.join(get_args(ExportFormat))}, found {self.format!r}")
        if not 1 <= self.verification_images <= self.calibration_images:
            raise ValueError(
                f"expected 1 <= verification_images <= calibration_images, "
                f"found {self.verification_images} and {self.calibration_images}"
            )
        if self.ap_tolerance < 0:
            raise ValueError(f"expected ap_tolerance >= 0, found {self.ap_tolerance}")
