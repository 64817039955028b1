"""Trains a supernet, or one subnet of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import yaml
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException

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
from ofa_det.data.categories import check_categories
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import Batch, training_loader
from ofa_det.data.splits import DataConfig, open_split
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
from ofa_det.training.validation import Validator, validation_subnets

logger = logging.getLogger(__name__)
CONFIG_FILE = "config.yaml"
MAY_CHANGE = ("output", "resume", "num_workers", "checkpoint_every", "validate_every", "accelerator")
"""Options that a resumed run may have otherwise than the run began."""
SubnetsAt = Callable[[int], tuple[SubnetConfig, ...]]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training of a supernet or of one subnet.

    Args:
        data: the data set, in COCO layout.
        output: run folder.
        resume: go on from the run folder's last.ckpt, with the same options.
        seed: of weights, draws and subnets; on a CPU the same seed gives the same weights.
        supernet: run folder to take the weights of `subnet` from; the detector's shape and anchors come with them.
        subnet: the one subnet to train, as a subnet.json or written out ("r320 k3e3.k3e3 ...", a word a stage); without
            it the whole space trains.
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
        for name, least in (
            ("calibration_images", 2),
            ("num_anchors", 1),
            ("checkpoint_every", 1),
            ("validate_every", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} >= {least}, found {getattr(self, name)}")
        if self.num_workers < 0:
            raise ValueError(f"expected num_workers >= 0, found {self.num_workers}")


def run(config: TrainConfig) -> None:
    """Trains, validates and writes the run folder."""
    run_folder = Path(config.output)
    _open_run_folder(run_folder, config)
    torch.manual_seed(config.seed)
    dataset, held_out = _open_splits(config)
    network = build_network(config, dataset)
    subnets = _subnets_at(config, network)
    validator = Validator(
        network,
        subnets=validation_subnets(network),
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
    average = train(
        network,
        loop,
        fabric=_fabric(config),
        run_folder=run_folder,
        batches=lambda first_step: _batches(config, dataset, subnets, first_step),
        subnets=subnets,
        validate=validator,
    )
    description = ModelDescription(
        detector=network.config,
        architecture=network.space if isinstance(network, Supernet) else network.subnet,
        categories=dataset.categories,
        holdout_fraction=config.data.holdout_fraction,
        training_images=dataset.fingerprint(),
    )
    save_model(run_folder, description, validator.averaged(average).state_dict())
    print(f"wrote {run_folder / MODEL_FILE}")


def _fabric(config: TrainConfig) -> Fabric:
    try:
        return Fabric(accelerator=config.accelerator, devices=1, precision=config.schedule.precision)  # type: ignore[arg-type]
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected an accelerator and a precision that Lightning Fabric has here, found {config.accelerator!r} and "
            f"{config.schedule.precision!r}: {error}"
        ) from error


def _open_splits(config: TrainConfig) -> tuple[CocoDataset, CocoDataset]:
    """Images to train on and to validate on; a supernet leaves those for the search alone and is watched on them."""
    if config.subnet is None and config.data.holdout_fraction > 0:
        return open_split(config.data, "fit"), open_split(config.data, "holdout")
    training, validation = open_split(config.data, "train"), open_split(config.data, "val")
    check_categories(
        validation.categories,
        training.categories,
        source=config.data.val_annotations,
        of=config.data.train_annotations,
    )
    return training, validation


def _subnets_at(config: TrainConfig, network: Supernet | Detector) -> SubnetsAt:
    """The subnets that train at a step."""
    if isinstance(network, Detector):
        only = (network.subnet,)
        return lambda step: only
    space, count = network.space, config.schedule.random_subnets
    return lambda step: sandwich(space, step, random_subnets=count, seed=config.seed)


def _batches(config: TrainConfig, dataset: CocoDataset, subnets: SubnetsAt, first_step: int) -> Iterable[Batch]:
    """The batches from a step on, each at its subnets' resolution."""
    return training_loader(
        dataset,
        batch_size=config.schedule.batch_size,
        first_step=first_step,
        num_steps=config.schedule.num_steps - first_step,
        resolution_of_step=lambda step: subnets(step)[0].resolution,
        seed=config.seed,
        augmentation=config.augmentation,
        num_workers=config.num_workers,
    )


def build_network(config: TrainConfig, dataset: CocoDataset) -> Supernet | Detector:
    """The network to train: a supernet, a subnet of a trained one, or a subnet from scratch."""
    subnet = None if config.subnet is None else read_subnet(config.subnet)
    if config.supernet is not None and subnet is not None:
        trained = load_supernet(config.supernet)
        check_categories(
            dataset.categories, trained.categories, source=config.data.train_annotations, of=config.supernet
        )
        return extract(trained.supernet, subnet)
    detector = DetectorConfig(
        num_classes=len(dataset.categories),
        backbone=config.backbone,
        extra_widths=config.extra_widths,
        anchor_sizes=choose_anchors(config, dataset),
    )
    return Supernet(detector, config.space) if subnet is None else Detector(detector, subnet)


def read_subnet(text: str) -> SubnetConfig:
    """A subnet from a JSON file or written out."""
    if Path(text).suffix != ".json":
        return SubnetConfig.parse(text)
    if not Path(text).is_file():
        raise FileNotFoundError(f"expected a subnet.json, found nothing at {text}; search one with search_det")
    return SubnetConfig.from_json(read_json(text))


def choose_anchors(config: TrainConfig, dataset: CocoDataset) -> AnchorSizes:
    """The anchors that the option names."""
    if config.anchors == "ssd":
        return ssd_anchor_sizes()
    if config.anchors != "fit":
        return _read_anchors(config.anchors)
    fit = fit_anchors(dataset.box_sizes(), num_anchors=config.num_anchors, seed=config.seed)
    logger.info(
        "anchors fitted to the training boxes: %.1f %% of them above IoU 0.5 (stock anchors: %.1f %%)",
        100 * fit.recall,
        100 * fit.default_recall,
    )
    return fit.anchor_sizes


def _read_anchors(path: str) -> AnchorSizes:
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected anchors to be fit, ssd or a JSON file of fit_anchors, found {path!r}")
    try:
        return anchor_sizes_from_json(read_json(path)["anchor_sizes"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected anchor_sizes of six levels in {path}, found {error!r:.100}") from error


def _open_run_folder(run_folder: Path, config: TrainConfig) -> None:
    """Starts or continues a run folder; a continued run must have the options it began with."""
    path = run_folder / CONFIG_FILE
    if (run_folder / CHECKPOINT_FILE).exists():
        if not config.resume:
            raise ValueError(
                f"expected a new run folder, found a training in {run_folder}; pass --resume to go on with it or "
                "another --output"
            )
        before = yaml.safe_load(path.read_text()) if path.is_file() else {}
        now = yaml.safe_load(config_yaml(config))
        changed = [name for name in now if name not in MAY_CHANGE and before.get(name, now[name]) != now[name]]
        if changed:
            raise ValueError(
                f"expected the options that {path} began with, found others in {', '.join(changed)}; start anew in "
                "another --output"
            )
    write_atomically(path, config_yaml(replace(config, resume=False)))


main = command("train", "Train an elastic detector, or one subnet of it.", TrainConfig, run)
