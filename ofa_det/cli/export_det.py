"""`ofa-det export`: a trained detector as .tflite or .onnx, verified and measured."""

from __future__ import annotations

from ofa_det.artefacts.records import to_plain
from ofa_det.cli.command import Printed, command
from ofa_det.export.config import ExportConfig


def run(config: ExportConfig) -> Printed:
    """Exports; gives what came out."""
    from ofa_det.export.run import export  # Seconds of libraries, which --help and a mistake should not wait for.

    result = export(config)
    before, after, latency = result.before, result.after, result.latency
    size = result.model_path.stat().st_size
    lines = [f"{result.model_path}: {size / 1e6:.2f} MB"]
    if before is None or after is None:
        lines.append("AP was not measured (--verify none)")
    else:
        lines.append(
            f"AP {100 * before.ap:.1f} before, {100 * after.ap:.1f} after export; AP50 {100 * before.ap50:.1f}, "
            f"{100 * after.ap50:.1f} ({after.record.images} images)"
        )
    if latency is not None:
        lines.append(
            f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision}, {latency.threads} thread; "
            f"without {latency.excluded})"
        )
    values = {
        "model": str(result.model_path),
        "size_bytes": size,
        "before": None if before is None else to_plain(before.record),
        "after": None if after is None else to_plain(after.record),
        "latency": None if latency is None else latency.to_json(),
    }
    return Printed(text="\n".join(lines), values=values)


main = command(
    "export",
    "Export a trained detector as .tflite or .onnx.",
    ExportConfig,
    run,
    presets="export",
)
