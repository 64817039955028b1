"""How a detector becomes a file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from ofa_det.arch.classes import ClassNumbering, check_numbering
from ofa_det.arch.description import PostProcessConfig
from ofa_det.data.splits import DataConfig
from ofa_det.export.formats import FORMATS, ExportFormat, FormatRecord, InputType
from ofa_det.models.activation_ranges import RangeRule

Verify = Literal["none", "sample", "full"]
Ending = Literal["op", "raw"]


@dataclass(frozen=True, kw_only=True)
class EndingConfig:
    """How a .tflite file ends. An option that is none, null in YAML, is as the detector was trained and searched with.

    Args:
        kind: `op` ends in TFLite_Detection_PostProcess; `raw` gives box_codes (1, A, 4) as (ty, tx, th, tw) and scores
            (1, A, C), and writes the anchors to anchors.safetensors.
        score_threshold: detections below it are dropped before suppression.
        iou_threshold: of two boxes that overlap by more than it, the weaker is suppressed.
        max_detections: detections kept for one image; OVIC wants exactly 100.
        detections_per_class: boxes kept for one class before the best of all classes are taken.
        regular_nms: suppress class by class; otherwise ("fast") once, on each anchor's best class.
        max_classes_per_detection: classes given for one box by fast suppression; the file has so many times
            max_detections rows.
        box_scales: y_scale, x_scale, h_scale and w_scale of the op; box codes are scaled to them.
    """

    kind: Ending = "op"
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    detections_per_class: int | None = None
    regular_nms: bool | None = None
    max_classes_per_detection: int = 1
    box_scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Ending):
            raise ValueError(f"expected a kind of {', '.join(get_args(Ending))}, found {self.kind!r}")
        if self.max_classes_per_detection < 1:
            raise ValueError(f"expected max_classes_per_detection >= 1, found {self.max_classes_per_detection}")
        if min(self.box_scales) <= 0:
            raise ValueError(f"expected box_scales > 0, found {self.box_scales}")
        replace(PostProcessConfig(), **self._changes)  # Refuses thresholds and limits that cannot be.

    def applied_to(self, trained: PostProcessConfig) -> PostProcessConfig:
        """Suppression of the file.

        Raises:
            ValueError: several classes for a box by regular suppression, which gives one.
        """
        config = replace(trained, **self._changes)
        if config.regular_nms and self.max_classes_per_detection > 1:
            raise ValueError(
                f"expected max_classes_per_detection 1 with regular_nms, found {self.max_classes_per_detection}; "
                "set ending.regular_nms to false"
            )
        return config

    @property
    def _changes(self) -> dict[str, Any]:
        names = ("score_threshold", "iou_threshold", "max_detections", "detections_per_class", "regular_nms")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Export of one trained detector.

    Args:
        model: run folder of a detector.
        data: the data set, in COCO layout; training images calibrate, validation images compare file and torch.
        format: tflite-float32, tflite-float16, tflite-dynamic (int8 weights alone), tflite-int8 (after training),
            tflite-int8-qat (of a run of train_det --quantize.detector), onnx (boxes and scores of every anchor) or
            onnx-nms (NonMaxSuppression inside).
        input_type: uint8 or int8 of an int8 file, by default uint8, raw RGB bytes, as OVIC wants; others have one type.
        classes: competition, class = category id - 1, whose gaps cost columns, as OVIC and the COCO label map have it;
            or compact, a column a category. Of .tflite files; .onnx files are compact.
        ending: post-processing of a .tflite file.
        output: export folder; files of an earlier export are replaced.
        calibration_images: training images that set the ranges of int8 activations, chosen so that every class and size
            of object is among them.
        ranges: how a range follows from the values seen: minmax, percentile or mse.
        verify: AP of torch and of the file on no image, on a sample, or on all validation images.
        verification_images: validation images of a sample.
        compared_images: validation images that raw outputs, and every layer of an int8 file, are compared on.
        ap_tolerance: largest fall of AP, as a fraction; a file that loses more is refused.
        device: phone that the latency of a .tflite file is predicted for.
        runtime: of the phone; by default the device's newest with published figures.
    """

    model: str
    data: DataConfig
    format: ExportFormat = "tflite-int8"
    input_type: InputType | None = None
    classes: ClassNumbering = "competition"
    ending: EndingConfig = field(default_factory=EndingConfig)
    output: str = "runs/export"
    calibration_images: int = 100
    ranges: RangeRule = "mse"
    verify: Verify = "full"
    verification_images: int = 100
    compared_images: int = 16
    ap_tolerance: float = 0.01
    device: str = "pixel2"
    runtime: str | None = None

    def __post_init__(self) -> None:
        for name, kind in (
            ("format", ExportFormat),
            ("ranges", RangeRule),
            ("verify", Verify),
        ):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"expected a {name} of {', '.join(get_args(kind))}, found {getattr(self, name)!r}")
        check_numbering(self.classes)
        if self.input_type is not None and self.input_type not in self.record.input_types:
            known = " or ".join(self.record.input_types)
            raise ValueError(f"expected input_type {known} of {self.format}, found {self.input_type!r}")
        if self.record.is_onnx and self.ending != EndingConfig():
            raise ValueError(f"expected no ending of {self.format}, found one; that is a .tflite file's")
        for name in ("calibration_images", "verification_images", "compared_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, found {getattr(self, name)}")
        if self.ap_tolerance < 0:
            raise ValueError(f"expected ap_tolerance >= 0, found {self.ap_tolerance}")

    @property
    def record(self) -> FormatRecord:
        """What the format is."""
        return FORMATS[self.format]
