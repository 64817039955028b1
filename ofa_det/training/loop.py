"""The training loop, over one network and a schedule."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.loading import Batch
from ofa_det.detection.losses import DetectionLosses, LossConfig
from ofa_det.detection.matching import MatcherConfig
from ofa_det.detection.output import DetectorOutput
from ofa_det.models.detector import Detector
from ofa_det.models.supernet import Supernet
from ofa_det.training.averaging import WeightAverage
from ofa_det.training.checkpoint import load_checkpoint, save_checkpoint
from ofa_det.training.metrics_log import MetricsLog
from ofa_det.training.schedule import ScheduleConfig
from ofa_det.training.step import accumulate_gradients

logger = logging.getLogger(__name__)
LOG_EVERY_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What the loop needs beside its network.

    Args:
        schedule: length and pace.
        matcher: anchor assignment.
        losses: weights of the losses.
        checkpoint_every: images between two resume states.
        validate_every: images between two validations; the end is always validated.
    """

    schedule: ScheduleConfig
    matcher: MatcherConfig
    losses: LossConfig
    checkpoint_every: int
    validate_every: int


def train(
    network: Supernet | Detector,
    config: LoopConfig,
    *,
    fabric: Fabric,
    run_folder: Path,
    batches: Callable[[int], Iterable[Batch]],
    subnets: Callable[[int], Sequence[SubnetConfig]],
    validate: Callable[[WeightAverage, int, MetricsLog], Mapping[str, float]],
) -> WeightAverage:
    """Trains to the end of the schedule, from `last.ckpt` if the run folder has one.

    Args:
        network: changed in place.
        config: of the loop.
        fabric: device and precision.
        run_folder: takes checkpoints and figures.
        batches: the batches from a step on, at the resolution of `subnets(step)`.
        subnets: that train at a step; the teacher first.
        validate: figures of the averaged weights after so many images.

    Returns:
        The averaged weights.
    """
    schedule = config.schedule
    optimizer = torch.optim.AdamW(_parameter_groups(network, schedule.weight_decay), lr=schedule.learning_rate)
    module, optimizer = fabric.setup(network, optimizer)
    average = WeightAverage(network)
    first_step = _restore(run_folder, network, optimizer, average)
    shape = network.config
    run = _as_function(module, network)
    module.train()
    checkpoint_steps = _every(config.checkpoint_every, schedule)
    validation_steps = _every(config.validate_every, schedule)

    with (
        MetricsLog(run_folder, first_step, first_step * schedule.batch_size) as log,
        tqdm(
            total=schedule.num_steps * schedule.batch_size,
            initial=first_step * schedule.batch_size,
            unit="img",
            desc="train",
            dynamic_ncols=True,
        ) as bar,
    ):
        ap: Mapping[str, float] = {}
        started, logged_step = time.monotonic(), first_step
        stream = zip(range(first_step, schedule.num_steps), batches(first_step), strict=True)
        for step, batch in stream:
            images = (step + 1) * schedule.batch_size
            losses = _step(run, shape, module, optimizer, fabric, batch.to(fabric.device), subnets(step), step, config)
            average.update(network, schedule.ema_decay_at(step))
            bar.update(schedule.batch_size)
            if (step + 1) % LOG_EVERY_STEPS == 0 or step + 1 == schedule.num_steps:
                speed = (step + 1 - logged_step) * schedule.batch_size / (time.monotonic() - started)
                figures = _figures(losses, schedule.learning_rate_at(step), speed)
                log.write(step, images, figures)
                bar.set_postfix({"loss": f"{figures['loss']:.3f}", **{k: f"{v:.3f}" for k, v in ap.items()}})
                started, logged_step = time.monotonic(), step + 1
            if step in validation_steps:
                ap = validate(average, images, log)
                log.write(step, images, ap)
                started, logged_step = time.monotonic(), step + 1
            if step in checkpoint_steps:
                _save(run_folder, network, optimizer, average, step + 1)
    return average


def _step(
    run: Callable[[Tensor, SubnetConfig], DetectorOutput],
    shape: DetectorConfig,
    module: nn.Module,
    optimizer: Any,
    fabric: Fabric,
    batch: Batch,
    subnets: Sequence[SubnetConfig],
    step: int,
    config: LoopConfig,
) -> list[DetectionLosses]:
    optimizer.zero_grad()
    losses = accumulate_gradients(
        run, shape, batch, subnets, backward=fabric.backward, matcher=config.matcher, losses=config.losses
    )
    fabric.clip_gradients(module, optimizer, max_norm=config.schedule.clip_norm, error_if_nonfinite=False)
    for group in optimizer.param_groups:
        group["lr"] = config.schedule.learning_rate_at(step)
    optimizer.step()
    if not all(torch.isfinite(part.total) for part in losses):
        raise ValueError(f"expected a finite loss, found {losses} at step {step}; lower schedule.learning_rate")
    return losses


def _as_function(module: nn.Module, network: Supernet | Detector) -> Callable[[Tensor, SubnetConfig], DetectorOutput]:
    def run(images: Tensor, subnet: SubnetConfig) -> DetectorOutput:
        output = module(images, subnet) if isinstance(network, Supernet) else module(images)
        return DetectorOutput(output.box_codes.float(), output.logits.float())

    return run


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay for convolution weights alone: not norms, biases and kernel transforms."""
    decayed = [p for _, p in network.named_parameters() if p.ndim == 4]
    others = [p for _, p in network.named_parameters() if p.ndim != 4]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _every(images: int, schedule: ScheduleConfig) -> frozenset[int]:
    """Steps at which so many more images have been drawn, and the last one."""
    period = max(1, images // schedule.batch_size)
    return frozenset(itertools.chain(range(period - 1, schedule.num_steps, period), (schedule.num_steps - 1,)))


def _figures(losses: Sequence[DetectionLosses], learning_rate: float, speed: float) -> dict[str, float]:
    """Losses of the first subnet by part, mean of all in total."""
    return {
        "loss": float(sum(part.total for part in losses) / len(losses)),
        "classification_loss": float(losses[0].classification),
        "box_loss": float(losses[0].box),
        "distillation_loss": float(losses[-1].distillation),
        "learning_rate": learning_rate,
        "images_per_s": speed,
    }


def _save(
    run_folder: Path, network: Supernet | Detector, optimizer: Any, average: WeightAverage, next_step: int
) -> None:
    save_checkpoint(
        run_folder,
        {
            "next_step": next_step,
            "detector": json.dumps(network.config.to_json()),
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average.values,
        },
    )


def _restore(run_folder: Path, network: Supernet | Detector, optimizer: Any, average: WeightAverage) -> int:
    state = load_checkpoint(run_folder)
    if state is None:
        return 0
    if state["detector"] != json.dumps(network.config.to_json()):
        raise ValueError(
            f"expected the classes and anchors that {run_folder} began with, found others; the training annotations "
            "have changed, so start anew in another --output"
        )
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    average.load(state["average"])
    logger.info("resuming at step %d", state["next_step"])
    return int(state["next_step"])
