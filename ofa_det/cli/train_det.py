"""Trains a supernet, or one subnet of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from lightning.fabric import Fabric

from ofa_det.arch.detector import (
    AnchorSizes,
    BackboneConfig,
    DetectorConfig,
    anchor_sizes_from_json,
    ssd_anchor_sizes,
)
from ofa_det.arch.files import read_json, write_atomically
from ofa_det.arch.search_space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.cli.command import command, config_yaml
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import Batch, training_loader
from ofa_det.data.splits import DataConfig, Split, open_split
from ofa_det.data.transforms import AugmentationConfig
from ofa_det.detection.anchors import fit_anchors
from ofa_det.detection.losses import LossConfig
from ofa_det.detection.matching import MatcherConfig
from ofa_det.detection.postprocessing import PostProcessConfig
from ofa_det.models.detector import Detector
from ofa_det.models.extraction import extract
from ofa_det.models.run_folder import MODEL_FILE, ModelDescription, load_supernet, save_model
from ofa_det.models.supernet import Supernet
from ofa_det.training.checkpoint import CHECKPOINT_FILE
from ofa_det.training.loop import LoopConfig, train
from ofa_det.training.schedule import ScheduleConfig, sandwich
from ofa_det.training.validation import Validator, check_categories, validation_subnets

logger = logging.getLogger(__name__)
CONFIG_FILE = "config.yaml"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training of a supernet or of one subnet.

    Args:
        data: the data set, in COCO layout.
        output: run folder.
        resume: go on from the run folder's last.ckpt, with the same options.
        seed: of weights, draws and subnets; on a CPU the same seed gives the same weights.
        supernet: run folder to take the weights of `subnet` from; the detector's shape and anchors come with them.
        subnet: subnet.json of the one subnet to train; without it the whole space trains.
        backbone: fixed part of the backbone.
        extra_widths: channels of the four levels after the backbone.
        space: subnets of the supernet.
        anchors: "fit" to cluster the training boxes, "ssd" for the stock SSDLite anchors, or an anchors.json of
            fit_anchors.
        num_anchors: clusters of "fit".
        augmentation: how training images are varied.
        matcher: assignment of anchors to objects.
        losses: weights of the losses.
        schedule: length and pace.
        postprocess: suppression in validation.
        num_workers: processes that prepare batches; 0 prepares them in the main process.
        calibration_images: training images for batch-norm statistics.
        checkpoint_every: images between two resume states.
        validate_every: images between two validations.
        accelerator: device, as Lightning Fabric names it, for example auto, cpu or cuda.
    """

    data: DataConfig
    output: str = "runs/train"
    resume: bool = False
    seed: int = 0
    supernet: str | None = None
    subnet: str | None = None
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    extra_widths: tuple[int, ...] = (512, 256, 256, 128)
    space: SearchSpace = field(default_factory=SearchSpace)
    anchors: str = "fit"
    num_anchors: int = 9
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    matcher: MatcherConfig = field(default_factory=MatcherConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    postprocess: PostProcessConfig = field(default_factory=PostProcessConfig)
    num_workers: int = 1
    calibration_images: int = 128
    checkpoint_every: int = 2_000
    validate_every: int = 5_000
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        if self.supernet is not None and self.subnet is None:
            raise ValueError("expected --subnet with --supernet, found none; search one with search_det")


def run(config: TrainConfig) -> None:
    """Trains, validates and writes the run folder."""
    run_folder = Path(config.output)
    _open_run_folder(run_folder, config)
    torch.manual_seed(config.seed)
    split: Split = "fit" if config.subnet is None and config.data.holdout_fraction > 0 else "train"
    dataset = open_split(config.data, split)
    held_out = open_split(config.data, "holdout" if split == "fit" else "val")
    network = build_network(config, dataset)
    subnets = validation_subnets(network)
    description = ModelDescription(
        detector=network.config,
        architecture=network.space if isinstance(network, Supernet) else network.subnet,
        categories=dataset.categories,
        holdout_fraction=config.data.holdout_fraction,
    )

    def subnets_at(step: int) -> tuple[SubnetConfig, ...]:
        if isinstance(network, Detector):
            return (network.subnet,)
        return sandwich(network.space, step, random_subnets=config.schedule.random_subnets, seed=config.seed)

    def batches(first_step: int) -> Iterable[Batch]:
        return training_loader(
            dataset,
            batch_size=config.schedule.batch_size,
            first_step=first_step,
            num_steps=config.schedule.num_steps - first_step,
            resolution_of_step=lambda step: subnets_at(step)[0].resolution,
            seed=config.seed,
            augmentation=config.augmentation,
            num_workers=config.num_workers,
        )

    validator = Validator(
        network,
        subnets=subnets,
        dataset=held_out,
        calibration=dataset,
        calibration_images=config.calibration_images,
        postprocess=config.postprocess,
        run_folder=run_folder,
    )
    loop = LoopConfig(
        schedule=config.schedule,
        matcher=config.matcher,
        losses=config.losses,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
    )
    fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.schedule.precision)  # type: ignore[arg-type]
    average = train(
        network, loop, fabric=fabric, run_folder=run_folder, batches=batches, subnets=subnets_at, validate=validator
    )
    save_model(run_folder, description, validator.averaged(average).state_dict())
    print(f"wrote {run_folder / MODEL_FILE}")


def build_network(config: TrainConfig, dataset: CocoDataset) -> Supernet | Detector:
    """The network to train: a supernet, a subnet of a trained one, or a subnet from scratch."""
    subnet = None if config.subnet is None else SubnetConfig.from_json(read_json(config.subnet))
    if config.supernet is not None and subnet is not None:
        trained = load_supernet(config.supernet)
        check_categories(dataset.categories, trained.categories, config.supernet)
        return extract(trained.supernet, subnet)
    detector = DetectorConfig(
        num_classes=len(dataset.categories),
        backbone=config.backbone,
        extra_widths=config.extra_widths,
        anchor_sizes=choose_anchors(config, dataset),
    )
    return Supernet(detector, config.space) if subnet is None else Detector(detector, subnet)


def choose_anchors(config: TrainConfig, dataset: CocoDataset) -> AnchorSizes:
    """The anchors that the option names."""
    if config.anchors == "ssd":
        return ssd_anchor_sizes()
    if config.anchors != "fit":
        return anchor_sizes_from_json(read_json(config.anchors)["anchor_sizes"])
    fit = fit_anchors(dataset.box_sizes(), num_anchors=config.num_anchors, seed=config.seed)
    logger.info(
        "anchors fitted to the training boxes: %.1f %% of them above IoU 0.5 (stock anchors: %.1f %%)",
        100 * fit.recall,
        100 * fit.default_recall,
    )
    return fit.anchor_sizes


def _open_run_folder(run_folder: Path, config: TrainConfig) -> None:
    """Starts or continues a run folder; a continued run must have the options it began with."""
    path = run_folder / CONFIG_FILE
    options = config_yaml(replace(config, resume=False))
    if (run_folder / CHECKPOINT_FILE).exists():
        if not config.resume:
            raise ValueError(
                f"expected a new run folder, found a training in {run_folder}; pass --resume to go on with it or "
                "another --output"
            )
        changed = set(options.splitlines()) ^ set(path.read_text().splitlines()) if path.exists() else set()
        if changed:
            raise ValueError(
                f"expected the options that {path} began with, found changed: {', '.join(sorted(changed))}"
            )
    write_atomically(path, options)


main = command("train", "Train an elastic detector, or one subnet of it.", TrainConfig, run)
