"""`ofa-det export-classifier`: a published once-for-all classifier as uint8 .tflite."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.export.classifier import ExportClassifierConfig, export_classifier


def run(config: ExportClassifierConfig) -> None:
    """Exports, and prints what came out."""
    result = export_classifier(config)
    manifest, latency = result.manifest, result.manifest.latency
    print(f"{result.model_path}: {manifest.model.bytes / 1e6:.2f} MB, {manifest.classes} classes")
    print(
        f"torch's best class for {100 * manifest.same_best_class:.1f} % of {manifest.compared_images} images; "
        f"probabilities {manifest.probability_sqnr_db:.1f} dB"
    )
    print(f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision})")


main = command(
    "export-classifier",
    "Export a published once-for-all classifier as uint8 .tflite, in OVIC's classification interface.",
    ExportClassifierConfig,
    run,
)
