"""TFLite_Detection_PostProcess in a `.tflite` file: its name, and its attributes, which stand there as a flexbuffer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flatbuffers import flexbuffers

from ofa_det.arch.description import PostProcessConfig

POSTPROCESS_OP: Final = "TFLite_Detection_PostProcess"

ATTRIBUTES: Final[Mapping[str, str]] = {
    "score_threshold": "nms_score_threshold",
    "iou_threshold": "nms_iou_threshold",
    "max_detections": "max_detections",
    "detections_per_class": "detections_per_class",
    "regular_nms": "use_regular_nms",
}
"""Attribute of the op by the name of a setting; `tensorflow/lite/kernels/detection_postprocess.cc`."""


def op_attributes(
    config: PostProcessConfig, *, num_classes: int, box_scales: Sequence[float], max_classes_per_detection: int = 1
) -> dict[str, int | float | bool]:
    """The attributes by name.

    Args:
        config: thresholds and limits.
        num_classes: columns of the scores.
        box_scales: y_scale, x_scale, h_scale and w_scale, that the box codes have been multiplied with.
        max_classes_per_detection: of fast suppression.
    """
    y_scale, x_scale, h_scale, w_scale = map(float, box_scales)
    return {
        "max_detections": config.max_detections,
        "max_classes_per_detection": max_classes_per_detection,
        "detections_per_class": config.detections_per_class,
        "num_classes": num_classes,
        "nms_score_threshold": float(config.score_threshold),
        "nms_iou_threshold": float(config.iou_threshold),
        "y_scale": y_scale,
        "x_scale": x_scale,
        "h_scale": h_scale,
        "w_scale": w_scale,
        "use_regular_nms": config.regular_nms,
    }


def write_attributes(attributes: Mapping[str, int | float | bool]) -> bytes:
    """The flexbuffer of attributes, as `customOptions` has it."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for name, value in attributes.items():
            # A bool is an int to Python, but not to the kernel.
            add = builder.Bool if isinstance(value, bool) else builder.Int if isinstance(value, int) else builder.Float
            add(name, value)
    return bytes(builder.Finish())


def read_attributes(op: Any) -> dict[str, Any]:
    """The attributes in an operator's table, inverse of `write_attributes`.

    Raises:
        Exception: one of `tflite_content.BROKEN`, where there are none or they are damaged.
    """
    found: dict[str, Any] = flexbuffers.GetRoot(bytearray(bytes(op.customOptions))).AsMap.Value
    return found
