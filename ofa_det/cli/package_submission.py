"""`ofa-det package`: validates, measures and packages a .tflite file as a submission."""

from __future__ import annotations

from ofa_det.artefacts.records import to_plain
from ofa_det.cli.command import Printed, command
from ofa_det.submission.packaging import PackageConfig, package


def run(config: PackageConfig) -> Printed:
    """Packages; gives what came out."""
    submission = package(config)
    metrics, latency = submission.metrics, submission.latency
    lines = [
        f"{submission.folder}: OVIC's interface is kept",
        f"AP {100 * metrics.ap:.1f}, AP50 {100 * metrics.ap50:.1f} on {metrics.record.images} images",
        f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision}); without {latency.excluded}",
        f"MD5 {submission.md5}",
    ]
    values = {
        "folder": str(submission.folder),
        "metrics": to_plain(metrics.record),
        "latency": to_plain(latency),
        "md5": submission.md5,
    }
    return Printed(text="\n".join(lines), values=values)


main = command("package", "Validate and package a .tflite file as a submission.", PackageConfig, run, offers_json=True)
