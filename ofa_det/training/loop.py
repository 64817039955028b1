"""The training loop, over one network and a schedule."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lightning.fabric import Fabric
from torch import nn
from tqdm import tqdm

from ofa_det.data.batch import Batch
from ofa_det.detection.losses import DetectionLosses
from ofa_det.elastic.synchronised import synchronise_batch_norm
from ofa_det.models.fake_quantization import QuantizedDetector
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.ranks import Ranks
from ofa_det.models.supernet import Supernet
from ofa_det.training.config import TrainConfig
from ofa_det.training.metrics_log import MetricsLog
from ofa_det.training.optimiser import TrainingStep, new_optimizer
from ofa_det.training.quantization import move_ranges
from ofa_det.training.reordering import sort_for_phase
from ofa_det.training.schedule import ScheduleConfig
from ofa_det.training.state import CHECKPOINT_FILE, TrainingState, WeightAverage

LOG_EVERY_STEPS = 10
CHECKPOINT_EVERY_S = 120.0
"""At most so much work is lost, however slow the machine is."""

Validate = Callable[[DetectionNetwork, int, MetricsLog], Mapping[str, float]]
"""Figures of the averaged weights after so many images."""


def run_loop(
    network: DetectionNetwork,
    config: TrainConfig,
    *,
    identity: Mapping[str, Any],
    fabric: Fabric,
    batches: Callable[[int], Iterable[Batch]],
    validate: Validate,
    progress: bool = True,
) -> DetectionNetwork:
    """Trains to the end of the schedule, from `last.ckpt` if the run folder has one.

    Args:
        network: changed in place.
        config: of the training.
        identity: what a resumed training must share with what it goes on with.
        fabric: accelerator, precision, and the ranks that train together.
        batches: this rank's parts of the batches from a step on, at the resolution of `step_subnets`.
        validate: called with the averaged weights, by every rank.
        progress: show a progress bar.

    Returns:
        A copy of the network with the averaged weights, in eval mode.
    """
    schedule = config.schedule
    ranks = Ranks(index=fabric.global_rank, count=fabric.world_size)
    module, state = _prepare(network, config, identity, fabric, ranks)
    first_step = _restore(state, ranks)
    module.train()
    step_once = TrainingStep(network, module, state.optimizer, fabric, config, ranks)
    checkpoint_steps = _every(config.checkpoint_every, schedule)
    validation_steps = _every(config.validate_every, schedule)
    first_images = first_step * schedule.batch_size
    with (
        MetricsLog(state.run_folder, first_step, first_images, active=ranks.first) as log,
        _bar(schedule, first_images, shown=progress and ranks.first) as bar,
    ):
        report, saved = _Report(log, bar, schedule, first_step), time.monotonic()
        for step, batch in zip(range(first_step, schedule.num_steps), batches(first_step), strict=True):
            if schedule.sorts_channels_at(step):
                sort_for_phase(cast(Supernet, network), state.average, state.optimizer)
            if isinstance(network, QuantizedDetector):
                move_ranges(network, config.quantize, step, schedule.num_steps, ranks)
            losses = step_once(step, batch.to(fabric.device))
            state.average.update(network, schedule.ema_decay_at(step))
            report.trained(step, losses)
            if step in validation_steps:
                images = (step + 1) * schedule.batch_size
                report.validated(step, validate(state.average.applied_to(network), images, log))
            if ranks.first and (step in checkpoint_steps or time.monotonic() - saved > CHECKPOINT_EVERY_S):
                state.save(step + 1)
                saved = time.monotonic()
    return state.average.applied_to(network)


def _prepare(
    network: DetectionNetwork, config: TrainConfig, identity: Mapping[str, Any], fabric: Fabric, ranks: Ranks
) -> tuple[nn.Module, TrainingState]:
    """The network as Fabric sets it up, the same on all ranks, and what changes beside it."""
    if ranks.count > 1 and config.schedule.sync_batch_norm:
        synchronise_batch_norm(network, ranks.gather)
    module, optimizer = fabric.setup(network, new_optimizer(network, config.schedule, fabric))
    ranks.copy_first(network.state_dict().values())
    state = TrainingState(
        run_folder=Path(config.output),
        identity=identity,
        network=network,
        optimizer=optimizer,
        average=WeightAverage(network),
        fabric=fabric,
    )
    return module, state


def _restore(state: TrainingState, ranks: Ranks) -> int:
    """Goes on from `last.ckpt`, if there is one, as all ranks do; gives the next step."""
    first_step = state.restore()
    if len(set(ranks.gather_lists([first_step]))) > 1:
        raise ValueError(f"expected the same {CHECKPOINT_FILE} on all ranks; pass an --output that they share")
    return first_step


def _bar(schedule: ScheduleConfig, first_images: int, *, shown: bool) -> tqdm[Any]:
    """The progress bar, over images."""
    return tqdm(
        total=schedule.num_steps * schedule.batch_size,
        initial=first_images,
        unit="img",
        desc="train",
        dynamic_ncols=True,
        disable=not shown,
    )


class _Report:
    """Tells what goes on, to the log and the progress bar.

    Args:
        log: takes the figures.
        bar: over images.
        schedule: of the training.
        first_step: the next step.
    """

    def __init__(self, log: MetricsLog, bar: tqdm[Any], schedule: ScheduleConfig, first_step: int) -> None:
        self._log = log
        self._bar = bar
        self._schedule = schedule
        self._ap: Mapping[str, float] = {}
        self._go_on(first_step)

    def _go_on(self, step: int) -> None:
        """Times from here the steps that are not told yet."""
        self._started, self._next_step = time.monotonic(), step

    def trained(self, step: int, losses: Sequence[DetectionLosses]) -> None:
        """A step, of which every tenth and the last are logged."""
        batch_size = self._schedule.batch_size
        self._bar.update(batch_size)
        if (step + 1) % LOG_EVERY_STEPS and step + 1 != self._schedule.num_steps:
            return
        speed = (step + 1 - self._next_step) * batch_size / (time.monotonic() - self._started)
        figures = _figures(losses, self._schedule.learning_rate_at(step), speed)
        self._log.write(step, (step + 1) * batch_size, figures)
        shown = {"loss": figures["loss"], **self._ap}
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()})
        self._go_on(step + 1)

    def validated(self, step: int, ap: Mapping[str, float]) -> None:
        """Figures of the averaged weights, whose time is not training's."""
        self._ap = ap
        self._log.write(step, (step + 1) * self._schedule.batch_size, ap)
        self._go_on(step + 1)


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
        "imitation_loss": float(losses[0].imitation),
        "learning_rate": learning_rate,
        "images_per_s": speed,
    }
