"""`ofa-det export`: a trained detector as .tflite or .onnx, verified and measured."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.export.config import ExportConfig
from ofa_det.export.run import export


def run(config: ExportConfig) -> None:
    """Exports, and prints what came out."""
    result = export(config)
    before, after, latency = result.before, result.after, result.latency
    print(f"{result.model_path}: {result.model_path.stat().st_size / 1e6:.2f} MB")
    if before is None or after is None:
        print("AP was not measured (--verify none)")
    else:
        print(
            f"AP {before.ap:.3f} before, {after.ap:.3f} after export; AP50 {before.ap50:.3f}, {after.ap50:.3f} "
            f"({after.record.images} images)"
        )
    if latency is not None:
        print(
            f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision}, {latency.threads} thread; "
            f"without {latency.excluded})"
        )


main = command("export", "Export a trained detector as .tflite or .onnx.", ExportConfig, run, presets="export")
