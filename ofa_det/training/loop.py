"""The training loop, over one network and a schedule."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.records import check_identity, to_plain
from ofa_det.data.loading import Batch
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.losses import DetectionLosses
from ofa_det.detection.targets import AnchorGrid
from ofa_det.models.network import DetectionNetwork
from ofa_det.training.config import TrainConfig
from ofa_det.training.metrics_log import MetricsLog
from ofa_det.training.schedule import ScheduleConfig, sandwich
from ofa_det.training.state import CHECKPOINT_FILE, WeightAverage, load_checkpoint, save_checkpoint
from ofa_det.training.step import accumulate_gradients

logger = logging.getLogger(__name__)
LOG_EVERY_STEPS = 10

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
        fabric: accelerator and precision.
        batches: the batches from a step on, at the resolution of `step_subnets`.
        validate: called with the averaged weights.
        progress: show a progress bar.

    Returns:
        A copy of the network with the averaged weights, in eval mode.
    """
    schedule, run_folder = config.schedule, Path(config.output)
    optimizer = torch.optim.AdamW(_parameter_groups(network, schedule.weight_decay), lr=schedule.learning_rate)
    module, optimizer = fabric.setup(network, optimizer)
    average = WeightAverage(network)
    first_step = _restore(run_folder, identity, network, optimizer, average)
    module.train()
    step_once = _Step(network, module, optimizer, fabric, config)
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
            disable=not progress,
        ) as bar,
    ):
        ap: Mapping[str, float] = {}
        started, logged_step = time.monotonic(), first_step
        for step, batch in zip(range(first_step, schedule.num_steps), batches(first_step), strict=True):
            images = (step + 1) * schedule.batch_size
            losses = step_once(step, batch.to(fabric.device))
            average.update(network, schedule.ema_decay_at(step))
            bar.update(schedule.batch_size)
            if (step + 1) % LOG_EVERY_STEPS == 0 or step + 1 == schedule.num_steps:
                speed = (step + 1 - logged_step) * schedule.batch_size / (time.monotonic() - started)
                figures = _figures(losses, schedule.learning_rate_at(step), speed)
                log.write(step, images, figures)
                bar.set_postfix({"loss": f"{figures['loss']:.3f}", **{k: f"{v:.3f}" for k, v in ap.items()}})
                started, logged_step = time.monotonic(), step + 1
            if step in validation_steps:
                ap = validate(average.applied_to(network), images, log)
                log.write(step, images, ap)
                started, logged_step = time.monotonic(), step + 1
            if step in checkpoint_steps:
                _save(run_folder, identity, network, optimizer, average, step + 1)
    return average.applied_to(network)


def step_subnets(network: DetectionNetwork, config: TrainConfig, step: int) -> tuple[SubnetConfig, ...]:
    """The subnets that train at a step, all of one resolution, the teacher first."""
    return sandwich(network.subnets, step, random_subnets=config.schedule.random_subnets, seed=config.seed)


class _Step:
    """One optimiser step."""

    def __init__(
        self, network: DetectionNetwork, module: nn.Module, optimizer: Any, fabric: Fabric, config: TrainConfig
    ) -> None:
        self._network = network
        self._module = module
        self._optimizer = optimizer
        self._fabric = fabric
        self._config = config
        self._grids: dict[int, AnchorGrid] = {}

    def __call__(self, step: int, batch: Batch) -> list[DetectionLosses]:
        config = self._config
        subnets = step_subnets(self._network, config, step)
        resolution = subnets[0].resolution
        if resolution not in self._grids:
            self._grids[resolution] = self._network.grid(subnets[0]).to(self._fabric.device)
        self._optimizer.zero_grad()
        losses = accumulate_gradients(
            self._run,
            self._grids[resolution],
            batch,
            subnets,
            backward=self._fabric.backward,
            assigner=config.assigner,
            losses=config.losses,
        )
        norm = self._fabric.clip_gradients(
            self._module,
            self._optimizer,
            max_norm=config.schedule.clip_norm,
            error_if_nonfinite=False,
        )
        # Before the weights change, so that no checkpoint holds what is not finite. In half precision gradients
        # overflow now and then; the scaler leaves such a step out by itself.
        finite = [torch.isfinite(part.total) for part in losses]
        if norm is not None and not config.schedule.precision.startswith("16"):
            finite.append(torch.isfinite(norm))
        if not all(finite):
            raise ValueError(
                f"expected finite losses and gradients, found {[float(part.total) for part in losses]} and a gradient "
                f"of norm {norm} at step {step}; lower schedule.learning_rate"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = config.schedule.learning_rate_at(step)
        self._optimizer.step()
        return losses

    def _run(self, images: Tensor, subnet: SubnetConfig) -> DetectorOutput:
        """The network in the training's precision; Fabric's module would refuse a frozen dataclass among its inputs."""
        with self._fabric.autocast():
            return cast(DetectorOutput, self._network(images, subnet))


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
    run_folder: Path,
    identity: Mapping[str, Any],
    network: DetectionNetwork,
    optimizer: Any,
    average: WeightAverage,
    next_step: int,
) -> None:
    state = {
        "next_step": next_step,
        "identity": to_plain(identity),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.values,
    }
    save_checkpoint(run_folder, state)


def _restore(
    run_folder: Path,
    identity: Mapping[str, Any],
    network: DetectionNetwork,
    optimizer: Any,
    average: WeightAverage,
) -> int:
    """Loads what `_save` wrote; the scaler of half precision begins anew."""
    state = load_checkpoint(run_folder)
    if state is None:
        return 0
    mend = "data, supernet or space have changed, so start anew in another --output"
    check_identity(state["identity"], identity, where=str(run_folder / CHECKPOINT_FILE), mend=mend)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    average.load(state["average"])
    logger.info("resuming at step %d", state["next_step"])
    return int(state["next_step"])
