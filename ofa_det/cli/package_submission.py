"""`ofa-det package`: validates, measures and packages a .tflite file as a submission."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofa_det.cli.command import command
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.submission.packaging import package_submission


@dataclass(frozen=True, kw_only=True)
class PackageConfig:
    """Packaging of one .tflite file.

    Args:
        model: the file, as tools/export_det.py --format tflite-int8 writes it.
        name: of the submission; the folder is NAME_AP with AP in percent.
        data: the data set, in COCO layout; AP is measured on its validation images.
        output: folder that the submission's folder goes into; one of the same name is replaced if it holds the same
            model, otherwise refused.
    """

    model: str
    name: str
    data: DataConfig
    output: str = "runs/submissions"


def run(config: PackageConfig) -> None:
    """Packages, and prints what came out."""
    submission = package_submission(
        config.model,
        config.name,
        open_split(config.data, "val"),
        data=str(Path(config.data.root) / config.data.val_annotations),
        output=config.output,
        progress=True,
    )
    metrics, latency = submission.metrics, submission.latency
    print(f"{submission.folder}: OVIC's interface is kept")
    print(f"AP {100 * metrics.ap:.1f}, AP50 {100 * metrics.ap50:.1f} on {metrics.num_images} images")
    print(f"predicted {latency} ({latency.device}, {latency.runtime}, {latency.precision}); without {latency.excluded}")
    print(f"MD5 {submission.md5}")


main = command("package", "Validate and package a .tflite file as a submission.", PackageConfig, run)
