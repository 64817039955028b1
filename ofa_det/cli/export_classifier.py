"""`ofa-det export-classifier`: a published once-for-all classifier as uint8 .tflite."""

from __future__ import annotations

from ofa_det.artefacts.records import to_plain
from ofa_det.cli.command import Printed, command
from ofa_det.export.classifier import ExportClassifierConfig, export_classifier


def run(config: ExportClassifierConfig) -> Printed:
    """Exports; gives what came out."""
    result = export_classifier(config)
    manifest, latency = result.manifest, result.manifest.latency
    lines = [
        f"{result.model_path}: {manifest.model.bytes / 1e6:.2f} MB, {manifest.classes} classes",
        f"torch's best class for {100 * manifest.same_best_class:.1f} % of {manifest.compared_images} images; "
        f"probabilities {manifest.probability_sqnr_db:.1f} dB",
        f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision})",
    ]
    return Printed(text="\n".join(lines), values={"model": str(result.model_path), "manifest": to_plain(manifest)})


main = command(
    "export-classifier",
    "Export a published once-for-all classifier as uint8 .tflite, in OVIC's classification interface.",
    ExportClassifierConfig,
    run,
)
