"""Fits anchors to the boxes of a data set."""

from __future__ import annotations

from dataclasses import dataclass

from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.records import write_record
from ofa_det.cli.command import command
from ofa_det.data.anchors import fit_to_dataset
from ofa_det.data.splits import DataConfig, open_split


@dataclass(frozen=True, kw_only=True)
class FitAnchorsConfig:
    """Fitting of anchors to training boxes.

    Args:
        data: the data set, in COCO layout.
        space: whose levels they are for, a YAML file or the name of one in configs/spaces.
        output: JSON file to write, for the option --anchors.source of train.
        count: shapes to fit; levels of the head that get none keep one stock anchor.
        seed: of the clustering.
    """

    data: DataConfig
    space: str = "ssdlite_mbv3"
    output: str = "runs/anchors.json"
    count: int = 9
    seed: int = 0


def run(config: FitAnchorsConfig) -> None:
    """Fits, writes and prints."""
    dataset = open_split(config.data, "train")
    fit = fit_to_dataset(dataset, read_space(config.space), count=config.count, seed=config.seed)
    write_record(config.output, fit)
    print("level  anchors (width x height, % of the input)")
    for level, sizes in enumerate(fit.anchor_sizes):
        print(f"{level:>5}  " + "  ".join(f"{100 * w:.1f} x {100 * h:.1f}" for w, h in sizes))
    print(f"boxes with IoU > 0.5: {100 * fit.recall:.1f} % (stock anchors {100 * fit.stock_recall:.1f} %)")
    print(f"mean best IoU:        {fit.mean_iou:.3f} (stock anchors {fit.stock_mean_iou:.3f})")
    print(f"wrote {config.output}")


main = command("fit-anchors", "Fit anchors to the boxes of a data set.", FitAnchorsConfig, run)
