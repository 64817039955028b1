"""Labels images with a larger detector."""

from __future__ import annotations

from ofa_det.artefacts.records import to_plain
from ofa_det.cli.command import Printed, command
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.run import label


def run(config: LabelConfig) -> Printed:
    """Labels; gives what came of it."""
    summary = label(config)
    lines = []
    manifest = summary.manifest
    if summary.report is not None:
        lines.append(f"{summary.report.table()}\n")
    speed = "" if manifest.images_per_second is None else f", {manifest.images_per_second:.1f} images/s"
    views = "" if manifest.views_of_each == 1 else f" in {manifest.views_of_each} views"
    lines.append(
        f"{manifest.boxes} boxes on {manifest.images} images{views}, {len(manifest.unreadable)} unreadable{speed}, "
        f"{manifest.bytes_per_image:.0f} bytes an image"
    )
    lines.append(f"written to {config.output}")
    if summary.dataset_boxes is not None:
        lines.append(
            f"{summary.dataset_boxes} boxes of score {config.score_threshold:g} and above as a data set; train on it "
            f"with --data.root {config.output}"
        )
    values = {
        "output": config.output,
        "manifest": to_plain(manifest),
        "dataset_boxes": summary.dataset_boxes,
    }
    return Printed(text="\n".join(lines), values=values)


main = command("label", "Label images with a larger detector.", LabelConfig, run, numbered=True)
