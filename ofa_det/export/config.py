"""How a detector becomes a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ofa_det.detection.postprocessing import PostProcessConfig

ExportFormat = Literal["tflite-int8", "tflite-float32", "onnx"]

# On a detector trained on BCCD (224 px, float32 AP 0.286), 16, 50, 100 and 200 calibration images gave int8 AP 0.285,
# 0.283, 0.288 and 0.285, and box codes of 19.2, 18.6, 18.2 and 17.8 dB: more images only widen the ranges.
CALIBRATION_IMAGES = 100


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How a detector becomes a file.

    Args:
        format: tflite-int8 (uint8 input, as OVIC wants), tflite-float32 or onnx.
        calibration_images: training images that set the ranges of int8 activations, taken at even distances.
        verification_images: of these, how many the file and torch are compared on.
        ap_tolerance: largest fall of AP, as a fraction, that passes without a warning.
        postprocess: attributes of the post-processing op.
    """

    format: ExportFormat = "tflite-int8"
    calibration_images: int = CALIBRATION_IMAGES
    verification_images: int = 16
    ap_tolerance: float = 0.01
    postprocess: PostProcessConfig = field(default_factory=PostProcessConfig)

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
