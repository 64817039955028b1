"""How fast a training will be, by its first steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from ofa_det.models.ranks import ALONE
from ofa_det.training.config import TrainConfig
from ofa_det.training.fabric import open_fabric
from ofa_det.training.optimiser import TrainingStep, new_optimizer
from ofa_det.training.run import build_network, open_training_splits, training_batches
from ofa_det.training.teaching import open_taught


@contextmanager
def _warnings_alone() -> Iterator[None]:
    """What else the package tells of a training is told when it is trained."""
    package = logging.getLogger("ofa_det")
    level = package.level
    package.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        package.setLevel(level)


@_warnings_alone()
@torch.random.fork_rng(devices=[])  # The caller's random state is the caller's.
def training_speed(config: TrainConfig, *, steps: int = 8) -> float:
    """Runs some steps of a training, which leave nothing behind.

    Args:
        config: of the training; phases, if there are any, are left out.
        steps: timed, behind one that is not.

    Returns:
        Images per second, validations not counted.

    Raises:
        FileNotFoundError: no such data, supernet, space or subnet.
        ValueError: data or options that do not serve.
    """
    batch_size = config.schedule.batch_size
    short = replace(config, schedule=replace(config.schedule, num_images=(steps + 1) * batch_size, phases=()))
    fabric = open_fabric(short)
    dataset, _ = open_training_splits(short)
    images = open_taught(short.teacher, short.augmentation, dataset)
    torch.manual_seed(short.seed)
    network, _ = build_network(short, dataset)
    module, optimizer = fabric.setup(network, new_optimizer(network, short.schedule, fabric))
    module.train()
    step_once = TrainingStep(network, module, optimizer, fabric, short, ALONE)
    ends = []
    for step, batch in enumerate(training_batches(short, network, images, 0, ALONE)):
        step_once(step, batch.to(fabric.device))
        ends.append(time.monotonic())
    return steps * batch_size / (ends[-1] - ends[0])
