"""Labels images with a larger detector, in COCO layout."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.teachers.labels import LabelConfig, label


def run(config: LabelConfig) -> None:
    """Labels the training images, and prints how many."""
    counts = label(config)
    print(f"{counts.boxes} boxes on {counts.images} images, {counts.unreadable} images unreadable")
    print(f"written to {config.output}; train on it with --data.root {config.output}")


main = command("label", "Label images with a larger detector.", LabelConfig, run)
