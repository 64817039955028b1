"""Where a detector's anchors come from, and how well they suit its training boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ofa_det.arch.levels import AnchorFit, AnchorRecall, AnchorSizes, LevelSpec, ssd_anchor_sizes, with_anchors
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.records import read_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.detection.anchor_fitting import fit_anchors, level_squares
from ofa_det.detection.anchors import placed_recall

_SMALLEST = 0.05
"""Share of the boxes that may be smaller than the least scale of `scaled` anchors."""


@dataclass(frozen=True, kw_only=True)
class AnchorConfig:
    """Where a detector's anchors come from.

    Args:
        source: `fit` to the training boxes, `ssd` for the stock ones of SSDLite, `scaled` for six of SSD's on every
            level from the size of the smallest twentieth of the training boxes up, or a JSON file that fit-anchors
            wrote; of a space whose levels state anchors, those are taken.
        count: most shapes to fit, over all levels; a level that none of them suits is left out, but levels that share
            a head have as many each.
    """

    source: str = "fit"
    count: int = 9

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"expected count >= 1, found {self.count}")


def fit_space(config: AnchorConfig, dataset: CocoDataset, space: SearchSpace, *, seed: int) -> SearchSpace:
    """A search space with anchors on its levels.

    Args:
        config: where they come from.
        dataset: the training images, to whose boxes anchors are fitted.
        space: its levels and resolutions.
        seed: of the fitting; not negative.

    Returns:
        The space with the anchors that it states, or else those of the source that the config names. Levels that a fit
        gives none are left out, with the nodes of the neck that they alone read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a second source beside the space's own anchors, anchors on some of its levels alone, stock anchors
            for a single level, a file of other content or for other levels, or no boxes to fit to.
    """
    return space.with_anchors(anchor_sizes(config, dataset, space, seed=seed))


def fit_to_dataset(dataset: CocoDataset, space: SearchSpace, *, count: int, seed: int) -> AnchorFit:
    """Fits anchors to the boxes of a data set, for the levels of a space at its greatest resolution.

    Raises:
        ValueError: no boxes.
    """
    objects = dataset.objects()
    cells, shared = _cells(space), space.head.shared
    sizes = fit_anchors(objects.boxes, objects.labels, cells=cells, num_anchors=count, evenly=shared, seed=seed)
    sizes = _reading_the_whole_backbone(space, sizes)
    return AnchorFit(
        levels=with_anchors(space.levels, sizes),
        recall=anchor_recall(dataset, space, sizes),
        stock_recall=anchor_recall(dataset, space, space.stock_anchors()),
    )


def anchor_recall(dataset: CocoDataset, space: SearchSpace, sizes: AnchorSizes) -> AnchorRecall:
    """How well anchors on the levels of a space suit the boxes of a data set, at the space's greatest resolution."""
    objects = dataset.objects()
    return placed_recall(
        objects.boxes,
        objects.labels,
        num_classes=len(dataset.categories),
        cells=_cells(space),
        anchor_sizes=sizes,
    )


def anchor_sizes(config: AnchorConfig, dataset: CocoDataset, space: SearchSpace, *, seed: int) -> AnchorSizes:
    """What `fit_space` puts on the levels of a space; nothing on those that it leaves out."""
    if (own := space.own_anchors) is not None:
        if config.source != "fit":
            raise ValueError(
                f"expected anchors from one place, found them in the levels of the space and in {config.source}; leave "
                "out --anchors.source, or the anchors of the levels"
            )
        return own
    if config.source in ("ssd", "scaled"):
        if len(space.levels) == 1:
            raise ValueError("expected two or more levels for stock anchors, found 1; set --anchors.source fit")
        return space.stock_anchors() if config.source == "ssd" else _scaled(dataset, space)
    if config.source != "fit":
        return _reading_the_whole_backbone(space, _read(Path(config.source), space))
    return fit_to_dataset(dataset, space, count=config.count, seed=seed).anchor_sizes


def _scaled(dataset: CocoDataset, space: SearchSpace) -> AnchorSizes:
    """SSD's shapes, the least scale being that of the smallest twentieth of the boxes; their sides in hundredths."""
    sides = np.sqrt(dataset.box_sizes().prod(axis=1))
    if not len(sides):
        raise ValueError("expected boxes to scale anchors to, found none; set --anchors.source ssd")
    least = min(0.9, max(0.01, round(float(np.quantile(sides, _SMALLEST)), 2)))
    return ssd_anchor_sizes(len(space.levels), min_scale=least, reduced=False)


def _cells(space: SearchSpace) -> list[int]:
    return [level.cells(space.resolutions[-1]) for level in space.levels]


def _reading_the_whole_backbone(space: SearchSpace, sizes: AnchorSizes) -> AnchorSizes:
    """The sizes, with a square on one more level where else nothing would read what the backbone ends with.

    Its last stages would cost their time and choices of them would make no difference.
    """

    def end_is_read(levels: Sequence[LevelSpec]) -> bool:
        return space.backbone.end in space.features_read(levels)

    levels = space.levels
    if end_is_read([level for level, shapes in zip(levels, sizes, strict=True) if shapes]) or not end_is_read(levels):
        return sizes
    first = next(index for index, level in enumerate(levels) if end_is_read([level]))
    return (*sizes[:first], level_squares(_cells(space)[first]), *sizes[first + 1 :])


def anchor_summary(dataset: CocoDataset, space: SearchSpace, fitted: SearchSpace) -> str:
    """How well the anchors of a space that `fit_space` has fitted suit the training boxes, in one line."""
    recall = anchor_recall(dataset, fitted, tuple(level.anchors for level in fitted.levels))
    kept = {(level.feature, level.stride) for level in fitted.levels}
    left_out = [level for level in space.levels if (level.feature, level.stride) not in kept]
    total, text = recall.all_boxes, ""
    for label in recall.worst_classes()[:1]:
        worst = recall.classes[label]
        text = f"; the fewest of {dataset.categories[label].name!r}, {100 * worst.fraction:.1f} % of {worst.boxes}"
    if left_out:
        strides = ", ".join(str(level.stride) for level in left_out)
        text += f"; left out, since no anchor suits them: the levels of stride {strides}"
    return f"{100 * total.fraction:.1f} % of the training boxes have an anchor above IoU 0.5 where it stands{text}"


def _read(path: Path, space: SearchSpace) -> AnchorSizes:
    if not path.is_file():
        raise FileNotFoundError(
            f"expected anchors from fit, ssd, scaled or a JSON file of fit-anchors, found {str(path)!r}"
        )
    fit = read_record(path, AnchorFit)
    mend = "fit them to this search space, with --space of fit-anchors"
    wanted, found = (_places(levels) for levels in (space.levels, fit.levels))
    if found != wanted:
        raise ValueError(f"expected anchors of the levels {wanted} in {path}, found {found}; {mend}")
    counts = [len(level.anchors) for level in fit.levels]
    if not any(counts):
        raise ValueError(f"expected anchors on one level or more in {path}, found none; {mend}")
    if space.head.shared and len(set(counts)) > 1:
        raise ValueError(
            f"expected as many anchors on every level in {path}, since the levels share a head, found {counts}; {mend}"
        )
    return fit.anchor_sizes


def _places(levels: Sequence[LevelSpec]) -> str:
    return ", ".join(f"{level.feature} of stride {level.stride}" for level in levels)
