"""Where a detector's anchors come from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ofa_det.arch.levels import AnchorFit, AnchorSizes
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.records import read_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.detection.anchors import fit_anchors

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AnchorConfig:
    """Where a detector's anchors come from.

    Args:
        source: `fit` to the training boxes, `ssd` for the stock ones of SSDLite, or a JSON file that fit-anchors wrote;
            of a space whose levels state anchors, those are taken.
        count: shapes to fit; a level that gets none of them keeps one stock anchor.
    """

    source: str = "fit"
    count: int = 9

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"expected count >= 1, found {self.count}")


def choose_anchors(config: AnchorConfig, dataset: CocoDataset, space: SearchSpace, *, seed: int) -> AnchorSizes:
    """The anchors of a detector.

    Args:
        config: where they come from.
        dataset: the training images, to whose boxes anchors are fitted.
        space: its levels and resolutions.
        seed: of the fitting; not negative.

    Returns:
        The sizes for each level: those that the space states, or else from the source that the config names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a second source beside the space's own anchors, anchors on some of its levels alone, stock anchors
            for a single level, a file of other content or for another number of levels, or fewer boxes than anchors to
            fit.
    """
    if (own := space.own_anchors) is not None:
        if config.source != "fit":
            raise ValueError(
                f"expected anchors from one place, found them in the levels of the space and in {config.source}; leave "
                "out --anchors.source, or the anchors of the levels"
            )
        return own
    if config.source == "ssd":
        if len(space.levels) == 1:
            raise ValueError("expected two or more levels for stock anchors, found 1; set --anchors.source fit")
        return space.stock_anchors()
    if config.source != "fit":
        return _read(Path(config.source), len(space.levels)).anchor_sizes
    fit = fit_to_dataset(dataset, space, count=config.count, seed=seed)
    logger.info(
        "anchors fitted to the training boxes: %.1f %% of them above IoU 0.5 (stock anchors: %.1f %%)",
        100 * fit.recall,
        100 * fit.stock_recall,
    )
    return fit.anchor_sizes


def fit_to_dataset(dataset: CocoDataset, space: SearchSpace, *, count: int, seed: int) -> AnchorFit:
    """Fits anchors to the boxes of a data set, for the levels of a space at its greatest resolution.

    Raises:
        ValueError: fewer boxes than anchors.
    """
    return fit_anchors(
        dataset.box_sizes(),
        cell_sizes=[1 / level.cells(space.resolutions[-1]) for level in space.levels],
        num_anchors=count,
        evenly=space.head.shared,
        seed=seed,
    )


def _read(path: Path, num_levels: int) -> AnchorFit:
    if not path.is_file():
        raise FileNotFoundError(f"expected anchors from fit, ssd or a JSON file of fit-anchors, found {str(path)!r}")
    fit = read_record(path, AnchorFit)
    if len(fit.anchor_sizes) != num_levels:
        raise ValueError(
            f"expected anchors of {num_levels} levels in {path}, found {len(fit.anchor_sizes)}; fit them to this "
            "search space"
        )
    return fit
