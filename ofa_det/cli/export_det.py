"""`ofa-det export`: a trained detector as .tflite or .onnx, verified and measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from ofa_det.cli.command import command
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.detection.postprocessing import PostProcessConfig
from ofa_det.export.config import ExportConfig, ExportFormat
from ofa_det.export.manifest import Source
from ofa_det.export.pipeline import ExportResult, export_detector
from ofa_det.models.run_folder import load_detector


@dataclass(frozen=True, kw_only=True)
class ExportCommandConfig:
    """Export of one trained detector.

    Args:
        model: run folder of a detector.
        data: the data set, in COCO layout; training images calibrate, validation images measure AP.
        format: tflite-int8 (uint8 input, as OVIC wants), tflite-float32 or onnx.
        output: export folder; files of an earlier export are replaced.
        calibration_images: training images that set the ranges of int8 activations.
        verification_images: of these, how many the file and torch are compared on.
        ap_tolerance: largest fall of AP, as a fraction, that passes without a warning.
        postprocess: attributes of the post-processing op; OVIC wants max_detections 100.
    """

    model: str
    data: DataConfig
    format: ExportFormat = "tflite-int8"
    output: str = "runs/export"
    calibration_images: int = ExportConfig.calibration_images
    verification_images: int = ExportConfig.verification_images
    ap_tolerance: float = ExportConfig.ap_tolerance
    postprocess: PostProcessConfig = field(default_factory=PostProcessConfig)


def run(config: ExportCommandConfig) -> None:
    """Exports, and prints what came out."""
    export = ExportConfig(
        format=config.format,
        calibration_images=config.calibration_images,
        verification_images=config.verification_images,
        ap_tolerance=config.ap_tolerance,
        postprocess=config.postprocess,
    )
    result = export_detector(
        load_detector(config.model),
        Source.of(config.model),
        export,
        calibration=open_split(config.data, "train"),
        validation=open_split(config.data, "val"),
        output=config.output,
        progress=True,
    )
    print(summary(result))


def summary(result: ExportResult) -> str:
    """The file with its accuracy, size and latency, for reading."""
    before, after = result.accuracy.before, result.accuracy.after
    lines = [
        f"{result.model_path}: {result.model_path.stat().st_size / 1e6:.2f} MB",
        f"AP {before.ap:.3f} before, {after.ap:.3f} after export; AP50 {before.ap50:.3f}, {after.ap50:.3f} "
        f"({after.num_images} images)",
    ]
    if result.latency is not None:
        latency = result.latency
        lines.append(
            f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision}, 1 thread; without "
            f"{latency.excluded})"
        )
    return "\n".join(lines)


main = command("export", "Export a trained detector as .tflite or .onnx.", ExportCommandConfig, run)
