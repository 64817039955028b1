"""`ofa-det package`: validates, measures and packages a .tflite file as a submission, or checks such a package."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.submission.config import PackageConfig
from ofa_det.submission.packaging import package
from ofa_det.submission.reproduction import verify_package


def run(config: PackageConfig) -> None:
    """Packages, or verifies, and prints what came out."""
    if config.verify is not None:
        _verify(config, config.verify)
        return
    submission = package(config)
    metrics, latency, scores = submission.metrics, submission.latency, submission.claims.scores
    print(f"{submission.folder}: OVIC's interface is kept")
    print(f"AP {100 * metrics.ap:.1f}, AP50 {100 * metrics.ap50:.1f} on {metrics.record.images} images")
    if (torch := submission.claims.torch) is not None:
        how = "scored beside it" if torch.source == "run folder" else "as its export measured"
        print(
            f"torch, {how}: AP {100 * torch.torch_ap:.1f}, the file {100 * torch.file_ap:.1f} on {torch.images} images"
        )
    print(f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision}); without {latency.excluded}")
    print(
        f"at {scores.latency_ms:.1f} ms ({scores.latency_is}): {scores.above_frontier:+.1f} AP from the frontier, AP "
        f"{scores.ap_in_time:.1f} within {scores.time_limit_ms:g} ms an image"
    )
    print(f"MD5 {submission.md5}")


def _verify(config: PackageConfig, folder: str) -> None:
    report = verify_package(folder, config.data)
    print("\n".join(map(str, report.checks)))
    if report.broken:
        raise ValueError(
            f"expected {folder} to hold what it claims, found {len(report.broken)} of {len(report.checks)} claims "
            f"broken: {', '.join(entry.name for entry in report.broken)}"
        )
    print(f"{folder} holds what it claims, on {report.images} images")


main = command("package", "Validate and package a .tflite file as a submission.", PackageConfig, run)
