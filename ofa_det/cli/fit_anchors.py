"""Fits anchors to the boxes of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ofa_det.arch.levels import AnchorFit, Recall
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.records import record_content, write_record
from ofa_det.cli.command import Printed, command
from ofa_det.data.anchors import fit_to_dataset
from ofa_det.data.splits import DataConfig, open_split

_MOST_CLASSES = 10
"""Classes that the table shows; it is for the eye, and the file has them all."""


@dataclass(frozen=True, kw_only=True)
class FitAnchorsConfig:
    """Fitting of anchors to training boxes.

    Args:
        data: the data set, in COCO layout.
        space: whose levels they are for, a YAML file or the name of one in configs/spaces.
        output: JSON file to write, for the option --anchors.source of train.
        count: most shapes to fit, over all levels; a level that none of them suits is left out, but levels that share
            a head have as many each.
        seed: of where a fit places the boxes.
    """

    data: DataConfig
    space: str = "ssdlite_mbv3"
    output: str = "runs/anchors.json"
    count: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"expected count >= 1, found {self.count}")


def run(config: FitAnchorsConfig) -> Printed:
    """Fits and writes; gives how well they fit."""
    dataset = open_split(config.data, "train")
    space = read_space(config.space)
    fit = fit_to_dataset(dataset, space, count=config.count, seed=config.seed)
    write_record(config.output, fit)
    lines = [*_report(fit, space, [category.name for category in dataset.categories]), f"wrote {config.output}"]
    return Printed(text="\n".join(lines), values={"output": config.output, **record_content(fit)})


def _report(fit: AnchorFit, space: SearchSpace, names: Sequence[str]) -> Iterator[str]:
    recall, stock = fit.recall, fit.stock_recall
    yield "level  stride  anchors (width x height, % of the input)"
    for index, (level, sizes) in enumerate(zip(space.levels, fit.anchor_sizes, strict=True)):
        shapes = "  ".join(f"{100 * w:.1f} x {100 * h:.1f}" for w, h in sizes)
        yield f"{index:>5}  {level.stride:>6}  {shapes or 'none: a training leaves this level out'}"
    yield f"boxes with an anchor of IoU > 0.5 where it stands, at {space.resolutions[-1]} px"
    worst = recall.worst_classes()
    shown = worst[:_MOST_CLASSES]
    width = max(len("all classes"), *(len(names[label]) for label in shown))
    yield f"{'class':{width}}   boxes   stock  fitted"
    for label in shown:
        yield f"{names[label]:{width}}  {_both(stock.classes[label], recall.classes[label])}"
    if len(worst) > len(shown):
        yield f"{len(worst) - len(shown)} more classes"
    yield f"{'all classes':{width}}  {_both(stock.all_boxes, recall.all_boxes)}"
    yield "level    best anchor of: stock  fitted   above 0.5: stock  fitted"
    for index, (before, after) in enumerate(zip(stock.levels, recall.levels, strict=True)):
        yield f"{index:>5}{before.boxes:>24}{after.boxes:>8}{_percent(before):>19}{_percent(after):>8}"
    yield f"mean best IoU: {recall.mean_iou:.3f} (stock anchors {stock.mean_iou:.3f})"


def _both(stock: Recall, fitted: Recall) -> str:
    return f"{fitted.boxes:>6}{_percent(stock):>8}{_percent(fitted):>8}"


def _percent(group: Recall) -> str:
    return f"{100 * group.fraction:.1f} %" if group.boxes else "-"


main = command("fit-anchors", "Fit anchors to the boxes of a data set.", FitAnchorsConfig, run)
