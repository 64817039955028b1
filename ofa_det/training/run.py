"""A training from config to run folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.arch.classes import check_categories
from ofa_det.arch.description import ModelDescription
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import check_subnet
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import read_subnet
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.locks import only_writer
from ofa_det.artefacts.model_file import CONFIG_FILE, MODEL_FILE, model_sha256
from ofa_det.artefacts.records import to_yaml
from ofa_det.data.anchors import anchor_summary, fit_space
from ofa_det.data.batch import Batch
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import DrawnImages, training_loader
from ofa_det.data.sampling import repeat_factors
from ofa_det.data.splits import open_splits
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.calibration import calibrated, calibration_batches
from ofa_det.models.fake_quantization import QuantizedDetector
from ofa_det.models.launch import is_first_rank
from ofa_det.models.memory import keep_freed_memory, release_freed_memory
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.pretrained import load_pretrained
from ofa_det.models.ranks import Ranks
from ofa_det.models.run_folder import load_detector, load_supernet, save_model
from ofa_det.models.supernet import Supernet
from ofa_det.training.config import TrainConfig
from ofa_det.training.fabric import open_fabric
from ofa_det.training.loop import run_loop
from ofa_det.training.low_rank import low_rank_to_train
from ofa_det.training.optimiser import step_subnets
from ofa_det.training.options import checked_options, warn_of_other_meaning
from ofa_det.training.quantization import quantized_to_train, save_quantized
from ofa_det.training.teaching import TaughtImages, open_taught, with_share
from ofa_det.training.validation import Validator

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished training.

    Args:
        model_file: weights and description.
        description: what network it is.
    """

    model_file: Path
    description: ModelDescription


@torch.random.fork_rng(devices=[])  # The caller's random state is the caller's.
def train(config: TrainConfig, *, progress: bool = True) -> TrainResult:
    """Trains a supernet or one subnet, validates it, and writes the run folder.

    It tells the allocator of this process to keep freed memory, which halves the time on a CPU.

    Args:
        config: of the training.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such data, supernet, detector, space or subnet.
        ValueError: data or options that do not serve, or a run folder that is in use.
    """
    _check_source(config)
    keep_freed_memory()
    with only_writer(config.output) if is_first_rank() else nullcontext():
        return _train(config, Path(config.output), progress)


def _check_source(config: TrainConfig) -> None:
    """Refuses a run folder that is not there, as the one that presets leave to be named, before data are opened."""
    for kind, source, option in (
        ("detector", config.detector, config.detector_option),
        ("supernet", config.supernet, "--supernet"),
    ):
        if source is not None and not Path(source).is_dir():
            raise FileNotFoundError(
                f"expected the run folder of a trained {kind}, found nothing at {source}; name it with {option}"
            )


def _train(config: TrainConfig, run_folder: Path, progress: bool) -> TrainResult:
    options = checked_options(run_folder, config)
    warn_of_other_meaning(config)
    fabric = open_fabric(config)
    ranks = Ranks(index=fabric.global_rank, count=fabric.world_size)
    if not config.schedule.reaches_its_peak:
        logger.warning("the learning rate never reaches its peak: schedule.warmup_images is not below num_images")
    dataset, watched = open_training_splits(config)
    images = open_taught(config.teacher, config.augmentation, dataset)
    torch.manual_seed(config.seed)
    network, description = build_network(config, dataset)
    if ranks.first:
        write_atomically(run_folder / CONFIG_FILE, to_yaml(options))
    scorer = SubnetScorer(
        description,
        calibration=dataset,
        augmentation=config.augmentation,
        calibration_images=config.calibration_images,
        scored=watched,
        ranks=ranks,
    )
    averaged = run_loop(
        network,
        config,
        identity={
            "model": description,
            "supernet_sha256": None if config.supernet is None else model_sha256(config.supernet),
            "detector_sha256": None if config.detector is None else model_sha256(config.detector),
        },
        fabric=fabric,
        batches=lambda first_step: training_batches(config, network, images, first_step, ranks),
        validate=Validator(scorer, watched, run_folder, random_subnets=config.watched_subnets, draws=ranks.first),
        progress=progress,
    )
    if ranks.first and isinstance(averaged, QuantizedDetector):
        save_quantized(run_folder, description, averaged)
    elif ranks.first:
        save_model(run_folder, description, _shipped(averaged, description.subnet, config, dataset))
    fabric.barrier()  # What follows on any rank may read the model.
    return TrainResult(model_file=run_folder / MODEL_FILE, description=description)


def build_network(config: TrainConfig, dataset: CocoDataset) -> tuple[DetectionNetwork, ModelDescription]:
    """The network to train, and what it is: a supernet, a subnet of a trained one or from scratch, or a detector."""
    subnet = None if config.subnet is None else read_subnet(config.subnet)
    training_images = dataset.fingerprint()
    if config.detector is not None:
        whole = load_detector(config.detector)
        expected = whole.description.categories
        check_categories(dataset.categories, expected, source=config.data.train_annotations, of=config.detector)
        if config.low_rank.detector is not None:
            whole = low_rank_to_train(whole, config.low_rank)
        description = replace(whole.description, training_images=training_images)
        if config.quantize.detector is None:
            return whole.network, description
        return quantized_to_train(whole, dataset, calibration_images=config.calibration_images), description
    if config.supernet is not None and subnet is not None:
        trained = load_supernet(config.supernet)
        expected = trained.description.categories
        check_categories(dataset.categories, expected, source=config.data.train_annotations, of=config.supernet)
        detector = Detector(trained.network.config, subnet, config.resolutions)
        detector.load_state_dict(trained.network.extract(subnet).state_dict())
        return detector, replace(
            trained.description, subnet=subnet, holdout_fraction=0.0, training_images=training_images
        )
    space = read_space(config.space)
    if subnet is not None:
        check_subnet(subnet, space, of=config.space)
    fitted = fit_space(config.anchors, dataset, space, seed=config.seed)
    logger.info("%s", anchor_summary(dataset, space, fitted))
    detector_config = DetectorConfig(num_classes=len(dataset.categories), space=fitted)
    network = Supernet(detector_config) if subnet is None else Detector(detector_config, subnet, config.resolutions)
    if config.pretrained is not None:
        report = load_pretrained(network, config.pretrained, categories=dataset.categories)
        if report.elastic and any(phase.sort_channels for phase in config.schedule.phases):
            raise ValueError(
                f"expected no sort_channels in schedule.phases, since {report.source} is of an elastic network, whose "
                "narrower subnets are trained in its order of channels, found one; set it to false"
            )
        logger.info("%s", report)
    return network, ModelDescription(
        detector=detector_config,
        subnet=subnet,
        categories=dataset.categories,
        postprocess=config.postprocess,
        holdout_fraction=config.data.holdout_fraction if subnet is None else 0.0,
        training_images=training_images,
    )


def _shipped(
    averaged: DetectionNetwork, subnet: SubnetConfig | None, config: TrainConfig, dataset: CocoDataset
) -> DetectionNetwork:
    """What the run folder keeps: a supernet as it is, since its subnets are calibrated one by one, or a detector."""
    if subnet is None:
        return averaged
    drawn = DrawnImages(augmentation=config.augmentation)
    batches = calibration_batches(dataset, subnet.resolution, num_images=config.calibration_images, read=drawn)
    return calibrated(averaged, subnet, batches)


def open_training_splits(config: TrainConfig) -> tuple[CocoDataset, CocoDataset]:
    """Images to train on and to validate on; a supernet leaves those for the search alone and is watched on them."""
    if config.trains_space and config.data.holdout_fraction > 0:
        fit, holdout = open_splits(config.data, ["fit", "holdout"])
        return fit, holdout
    training, validation = open_splits(config.data, ["train", "val"])
    check_categories(
        validation.categories,
        training.categories,
        source=config.data.val_annotations,
        of=config.data.train_annotations,
    )
    return training, validation


def training_batches(
    config: TrainConfig, network: DetectionNetwork, images: TaughtImages, first_step: int, ranks: Ranks
) -> Iterable[Batch]:
    """A rank's parts of the batches from a step on, each at its subnets' resolution."""
    release_freed_memory()  # The workers are forks of this process, which in a build has trained and searched before.
    return training_loader(
        images.dataset,
        batch_size=config.schedule.batch_size,
        first_step=first_step,
        num_steps=config.schedule.num_steps - first_step,
        resolution_of_step=lambda step: step_subnets(network, config, step).resolution,
        phase_of_step=config.schedule.phase_at,
        seed=config.seed,
        augmentation=config.augmentation,
        num_workers=config.num_workers,
        teacher=images.teacher,
        attachments=images.features,
        repeat_factors=_repeat_factors(config, images),
        max_resolution=max(network.subnets.resolutions),
        cache_mb=config.cache_mb,
        rank=ranks.index,
        num_ranks=ranks.count,
    )


def _repeat_factors(config: TrainConfig, images: TaughtImages) -> NDArray[np.float64] | None:
    """How often each image is drawn; none where all are drawn alike."""
    dataset, threshold = images.dataset, config.sampling.repeat_threshold
    if threshold == 0 and not config.teacher.unlabelled:
        return None
    factors = repeat_factors(dataset, threshold) if threshold > 0 else np.ones(len(dataset))
    if config.teacher.unlabelled:
        factors = with_share(factors, images.num_labelled, config.teacher.unlabelled_share)
    return factors
