"""Fits anchors to the boxes of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofa_det.arch.files import write_json
from ofa_det.cli.command import command
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.detection.anchors import fit_anchors


@dataclass(frozen=True, kw_only=True)
class FitAnchorsConfig:
    """Fitting of anchors to training boxes.

    Args:
        data: the data set, in COCO layout.
        output: JSON file to write, for the option --anchors of train.
        num_anchors: shapes to fit; levels of the head that get none keep one stock anchor.
        seed: of the clustering.
    """

    data: DataConfig
    output: str = "runs/anchors.json"
    num_anchors: int = 9
    seed: int = 0


def run(config: FitAnchorsConfig) -> None:
    """Fits, writes and prints."""
    dataset = open_split(config.data, "train")
    fit = fit_anchors(dataset.box_sizes(), num_anchors=config.num_anchors, seed=config.seed)
    write_json(
        config.output,
        {
            "schema_version": 1,
            "anchor_sizes": fit.anchor_sizes,
            "mean_iou": fit.mean_iou,
            "recall": fit.recall,
            "default_mean_iou": fit.default_mean_iou,
            "default_recall": fit.default_recall,
        },
    )
    print("level  anchors (width x height, % of the input)")
    for level, sizes in enumerate(fit.anchor_sizes):
        print(f"{level:>5}  " + "  ".join(f"{100 * w:.1f} x {100 * h:.1f}" for w, h in sizes))
    print(f"boxes with IoU > 0.5: {100 * fit.recall:.1f} % (stock anchors {100 * fit.default_recall:.1f} %)")
    print(f"mean best IoU:        {fit.mean_iou:.3f} (stock anchors {fit.default_mean_iou:.3f})")
    print(f"wrote {Path(config.output)}")


main = command("fit-anchors", "Fit anchors to the boxes of a data set.", FitAnchorsConfig, run)
