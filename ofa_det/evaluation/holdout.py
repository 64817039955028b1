"""What a supernet was trained on, and the images that it held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ofa_det.arch.classes import check_categories
from ofa_det.arch.description import ModelDescription
from ofa_det.artefacts.model_file import CONFIG_FILE
from ofa_det.artefacts.records import from_plain, read_yaml
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, open_split


def divided_as_trained(data: DataConfig, description: ModelDescription, *, supernet: str) -> DataConfig:
    """The data set with the held-out fraction of a supernet.

    Args:
        data: the data set; its held-out fraction is 0 or the supernet's.
        description: of the supernet.
        supernet: its run folder, for the error.

    Raises:
        ValueError: another held-out fraction.
    """
    fraction = description.holdout_fraction
    if data.holdout_fraction not in (0, fraction):
        raise ValueError(
            f"expected data.holdout_fraction {fraction:g}, that of {supernet}, found {data.holdout_fraction:g}; "
            "leave it out"
        )
    return replace(data, holdout_fraction=fraction)


def open_trained_on(data: DataConfig, description: ModelDescription, *, supernet: str) -> CocoDataset:
    """The images that a supernet was trained on.

    Args:
        data: the data set, divided as the training divided it.
        description: of the supernet.
        supernet: its run folder, for the error.

    Raises:
        FileNotFoundError: no such data set.
        ValueError: other categories or images than those of its training.
    """
    fit = open_split(data, "fit")
    check_categories(fit.categories, description.categories, source=data.train_annotations, of=supernet)
    if fit.fingerprint() != description.training_images:
        raise ValueError(
            f"expected the images that {supernet} was trained on, found others in {data.train_annotations}, so "
            "held-out images may have been trained on; use the same data options as its training"
        )
    return fit


def open_fit_and_holdout(
    data: DataConfig, description: ModelDescription, *, supernet: str
) -> tuple[CocoDataset, CocoDataset]:
    """The images that a supernet was trained on, and those that it held out to score subnets on.

    Args:
        data: the data set; its held-out fraction is 0 or the supernet's.
        description: of the supernet.
        supernet: its run folder, for the error.

    Raises:
        FileNotFoundError: no such data set.
        ValueError: the supernet held no images out, or the data is not that of its training.
    """
    if description.holdout_fraction == 0:
        raise ValueError(
            f"expected a supernet trained with --data.holdout_fraction above 0, found 0 in {supernet}; "
            "train one that holds out images to score subnets on, for example 0.2"
        )
    data = divided_as_trained(data, description, supernet=supernet)
    return open_trained_on(data, description, supernet=supernet), open_split(data, "holdout")


def augmentation_of(supernet: str | Path) -> AugmentationConfig:
    """How the training of a supernet varied its images, by the `config.yaml` of its run folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of other content.
    """
    path = Path(supernet) / CONFIG_FILE
    options = read_yaml(path)
    if not isinstance(options, dict) or "augmentation" not in options:
        raise ValueError(f"expected the options of a training, with augmentation, in {path}, found none")
    return from_plain(AugmentationConfig, options["augmentation"], where=str(path))
