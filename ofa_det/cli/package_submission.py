"""Packages a .tflite detector as a submission, or verifies a package."""

from __future__ import annotations

from ofa_det.artefacts.records import record_content, to_plain
from ofa_det.cli.command import Printed, command
from ofa_det.submission.config import PackageConfig
from ofa_det.submission.packaging import package
from ofa_det.submission.reproduction import verify_package


def run(config: PackageConfig) -> Printed:
    """Packages, or verifies; gives what came out."""
    if config.verify is not None:
        return _verified(config, config.verify)
    submission = package(config)
    metrics, latency, scores = submission.metrics, submission.latency, submission.claims.scores
    lines = [
        f"{submission.folder}: OVIC's interface is kept",
        f"AP {100 * metrics.ap:.1f}, AP50 {100 * metrics.ap50:.1f} on {metrics.record.images} images",
    ]
    if (torch := submission.claims.torch) is not None:
        how = "scored beside it" if torch.source == "run folder" else "as its export measured"
        lines.append(
            f"torch, {how}: AP {100 * torch.torch_ap:.1f}, the file {100 * torch.file_ap:.1f} on {torch.images} images"
        )
    lines += [
        f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision}); without {latency.excluded}",
        f"at {scores.latency_ms:.1f} ms ({scores.latency_is}): {scores.above_frontier:+.1f} AP from the frontier, AP "
        f"{scores.ap_in_time:.1f} within {scores.time_limit_ms:g} ms an image",
        f"MD5 {submission.md5}",
    ]
    values = {
        "folder": str(submission.folder),
        "metrics": to_plain(metrics.record),
        "latency": to_plain(latency),
        "claims": record_content(submission.claims),
        "md5": submission.md5,
    }
    return Printed(text="\n".join(lines), values=values)


def _verified(config: PackageConfig, folder: str) -> Printed:
    report = verify_package(folder, config.data)
    lines = [str(check) for check in report.checks]
    failure = None
    if report.broken:
        failure = (
            f"expected {folder} to hold what it claims, found {len(report.broken)} of {len(report.checks)} claims "
            f"broken: {', '.join(entry.name for entry in report.broken)}"
        )
    else:
        lines.append(f"{folder} holds what it claims, on {report.images} images")
    values = {"folder": folder, "checks": [to_plain(check) for check in report.checks], "images": report.images}
    return Printed(text="\n".join(lines), values=values, failure=failure)


main = command("package", "Validate and package a .tflite file as a submission.", PackageConfig, run)
