"""Trains one network with and without what a teacher has said of its images, one evaluator for all; see --help.

The labels are made before, by tools/label_with_teacher.py; no teacher runs here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark_recipe import BATCH_SIZE, finished, print_table, trained_and_scored

from ofa_det.cli.command import command
from ofa_det.data.splits import DataConfig
from ofa_det.training.teaching import UnlabelledConfig

ENTRIES = ("none", "classes", "boxes", "objects", "unlabelled", "features")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """A comparison of what is learnt from a teacher.

    Args:
        data: the data set, in COCO layout.
        labels: of its training images, whole.
        views: of their stored views, with features; for the entry `features`.
        unlabelled: images without annotations; for the entry `unlabelled`.
        unlabelled_share: of the images drawn.
        feature_weight: factor of the imitation, for the entry `features`.
        preset: the options that every entry begins with, a file or a name in configs/train.
        entries: what to run, in this order: `none`, no teacher; `classes`, its scores of annotated objects; `boxes`,
            its boxes of them too; `objects`, also what it sees beside them; `unlabelled`, `classes` and images that
            it alone has annotated; `features`, `classes` and its feature maps.
        images: training images that each of them draws.
        learning_rate: peak.
        backbone_rate: factor of it for the backbone.
        seed: of weights and draws.
        num_workers: processes that prepare batches.
        output: folder; what is finished there is not run again.
    """

    data: DataConfig
    labels: str
    views: str | None = None
    unlabelled: tuple[UnlabelledConfig, ...] = ()
    unlabelled_share: float = 0.3
    feature_weight: float = 6.0
    preset: str = "single"
    entries: tuple[str, ...] = ENTRIES[:4]
    images: int = 16_000
    learning_rate: float = 6e-3
    backbone_rate: float = 0.2
    seed: int = 0
    num_workers: int = 1
    output: str = "runs/distillation"

    def __post_init__(self) -> None:
        for name in self.entries:
            if name not in ENTRIES:
                raise ValueError(f"expected entries of {', '.join(ENTRIES)}, found {name!r}")
        if "unlabelled" in self.entries and not self.unlabelled:
            raise ValueError("expected --unlabelled with the entry unlabelled, found none")
        if "features" in self.entries and self.views is None:
            raise ValueError("expected --views with the entry features, found none")


def run(config: DistillationConfig) -> None:
    """Runs what is not finished, and prints the table."""
    schedule = {
        "num_images": config.images,
        "batch_size": BATCH_SIZE,
        "learning_rate": config.learning_rate,
        "backbone_rate": config.backbone_rate,
    }

    def result(name: str, folder: Path) -> dict[str, Any]:
        return trained_and_scored(
            config.data,
            config.preset,
            folder,
            schedule=schedule,
            seed=config.seed,
            num_workers=config.num_workers,
            teacher=teaching(config, name),
        )

    rows = finished(config.entries, Path(config.output), config.seed, result)
    print_table(rows, title=f"{config.images:,} images")


def teaching(config: DistillationConfig, entry: str) -> Mapping[str, Any]:
    """The `teacher` section of an entry."""
    classes = {"labels": config.labels, "class_share": 0.5}
    return {
        "none": {},
        "classes": classes,
        "boxes": {**classes, "box_share": 0.5},
        "objects": {**classes, "labelled_object_score": 0.05},
        "unlabelled": {**classes, "unlabelled": config.unlabelled, "unlabelled_share": config.unlabelled_share},
        "features": {"labels": config.views, "class_share": 0.5, "feature_weight": config.feature_weight},
    }[entry]


main = command(
    "benchmark-distillation",
    "Train and compare what is learnt from a teacher.",
    DistillationConfig,
    run,
    presets="train",
)

if __name__ == "__main__":
    raise SystemExit(main())
