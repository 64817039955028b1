"""Labels images with a larger detector."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.teachers.run import LabelConfig, label


def run(config: LabelConfig) -> None:
    """Labels, and prints what came of it."""
    summary = label(config)
    manifest = summary.manifest
    if summary.report is not None:
        print(f"{summary.report.table()}\n")
    speed = "" if manifest.images_per_second is None else f", {manifest.images_per_second:.1f} images/s"
    views = "" if manifest.views_of_each == 1 else f" in {manifest.views_of_each} views"
    print(
        f"{manifest.boxes} boxes on {manifest.images} images{views}, {len(manifest.unreadable)} unreadable{speed}, "
        f"{manifest.bytes_per_image:.0f} bytes an image"
    )
    print(f"written to {config.output}")
    if summary.dataset_boxes is not None:
        print(
            f"{summary.dataset_boxes} boxes of score {config.score_threshold:g} and above as a data set; train on it "
            f"with --data.root {config.output}"
        )


main = command("label", "Label images with a larger detector.", LabelConfig, run)
