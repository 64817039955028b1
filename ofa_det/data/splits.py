"""Where a data set lies, and how its images are divided between training, search and validation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ofa_det.data.coco_dataset import CocoDataset

Split = Literal["train", "val", "fit", "holdout"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set in COCO layout.

    Args:
        root: folder of the data set; the other paths are relative to it.
        train_annotations: COCO annotation file of the training images.
        train_images: folder of the training images.
        val_annotations: COCO annotation file of the validation images.
        val_images: folder of the validation images.
        holdout_fraction: share of the training images that a supernet does not train on, so that the search can score
            its subnets on them; the fine-tuning of a subnet trains on them too; 0 to below 1.
        limit: use the first images of each annotation file alone; to try a configuration out, or to overfit on few
            images.
    """

    root: str
    train_annotations: str = "annotations/instances_train2017.json"
    train_images: str = "train2017"
    val_annotations: str = "annotations/instances_val2017.json"
    val_images: str = "val2017"
    holdout_fraction: float = 0.0
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.holdout_fraction < 1:
            raise ValueError(f"expected 0 <= holdout_fraction < 1, found {self.holdout_fraction}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"expected limit >= 1, found {self.limit}")


def open_split(config: DataConfig, split: Split) -> CocoDataset:
    """Opens one split.

    Args:
        config: the data set.
        split: `val`; `train`, which is `fit` and `holdout` together, what a single subnet trains on; `fit`, what a
            supernet trains on; `holdout`, the training images that the search scores on. Which images are held out
            follows from their ids alone.

    Raises:
        FileNotFoundError: no annotation file.
        ValueError: malformed annotations, missing images, or a split that is empty.
    """
    (dataset,) = open_splits(config, [split])
    return dataset


def open_splits(config: DataConfig, splits: Sequence[Split]) -> tuple[CocoDataset, ...]:
    """Opens several splits, as `open_split` does; those of the training images read their annotation file once.

    Raises:
        FileNotFoundError: no annotation file.
        ValueError: malformed annotations, missing images, or a split that is empty.
    """
    for split in splits:
        if split not in get_args(Split):
            raise ValueError(f"expected a split of {', '.join(get_args(Split))}, found {split!r}")
    root = Path(config.root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"expected the folder of a COCO-format data set, found nothing at {root}; check --data.root"
        )
    training: CocoDataset | None = None
    opened = []
    for split in splits:
        if split == "val":
            opened.append(_first(CocoDataset.open(root / config.val_annotations, root / config.val_images), config))
            continue
        if training is None:
            training = _first(CocoDataset.open(root / config.train_annotations, root / config.train_images), config)
        opened.append(training if split == "train" else _part(training, config, split))
    return tuple(opened)


def _part(dataset: CocoDataset, config: DataConfig, split: Split) -> CocoDataset:
    """The images that are held out, or those that are not."""
    held_out = _held_out(dataset, config.holdout_fraction)
    positions = np.flatnonzero(held_out if split == "holdout" else ~held_out)
    if not len(positions):
        raise ValueError(
            f"expected images in the {split} split of {config.root}, found none with holdout_fraction "
            f"{config.holdout_fraction} of {len(dataset)} images; change holdout_fraction"
        )
    return dataset.subset(positions)


def _first(dataset: CocoDataset, config: DataConfig) -> CocoDataset:
    return dataset if config.limit is None else dataset.subset(np.arange(min(config.limit, len(dataset))))


def _held_out(dataset: CocoDataset, fraction: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,) the images with the smallest hashes, so many that they make up `fraction` of all."""
    hashes = [
        hashlib.blake2b(f"holdout:{dataset.image_id(index)}".encode(), digest_size=8).digest()
        for index in range(len(dataset))
    ]
    chosen = sorted(range(len(dataset)), key=hashes.__getitem__)[: round(fraction * len(dataset))]
    held_out = np.zeros(len(dataset), np.bool_)
    held_out[chosen] = True
    return held_out
