"""`ofa-det package`: validates, measures and packages a .tflite file as a submission."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.submission.packaging import PackageConfig, package


def run(config: PackageConfig) -> None:
    """Packages, and prints what came out."""
    submission = package(config)
    metrics, latency = submission.metrics, submission.latency
    print(f"{submission.folder}: OVIC's interface is kept")
    print(f"AP {100 * metrics.ap:.1f}, AP50 {100 * metrics.ap50:.1f} on {metrics.record.images} images")
    print(f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision}); without {latency.excluded}")
    print(f"MD5 {submission.md5}")


main = command("package", "Validate and package a .tflite file as a submission.", PackageConfig, run)
