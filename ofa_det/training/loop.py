"""The training loop, over one network and a schedule."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
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
from ofa_det.elastic.synchronised import synchronise_batch_norm
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.ranks import Ranks
from ofa_det.training.config import TrainConfig
from ofa_det.training.metrics_log import MetricsLog
from ofa_det.training.parts import DeferredNormaliser, add_up, parts_of
from ofa_det.training.reordering import sort_for_phase
from ofa_det.training.schedule import ScheduleConfig, StepSubnets
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
        fabric: accelerator, precision, and the ranks that train together.
        batches: this rank's parts of the batches from a step on, at the resolution of `step_subnets`.
        validate: called with the averaged weights, by every rank.
        progress: show a progress bar.

    Returns:
        A copy of the network with the averaged weights, in eval mode.
    """
    schedule, run_folder = config.schedule, Path(config.output)
    ranks = Ranks(index=fabric.global_rank, count=fabric.world_size)
    if ranks.count > 1 and schedule.sync_batch_norm:
        synchronise_batch_norm(network, ranks.gather)
    module, optimizer = fabric.setup(network, new_optimizer(network, schedule, fabric))
    ranks.copy_first(network.state_dict().values())
    average = WeightAverage(network)
    first_step = _restore(run_folder, identity, network, optimizer, average, fabric)
    if len(set(ranks.gather_lists([first_step]))) > 1:
        raise ValueError(f"expected the same {CHECKPOINT_FILE} on all ranks; pass an --output that they share")
    module.train()
    step_once = TrainingStep(network, module, optimizer, fabric, config, ranks)
    checkpoint_steps = _every(config.checkpoint_every, schedule)
    validation_steps = _every(config.validate_every, schedule)

    with (
        MetricsLog(run_folder, first_step, first_step * schedule.batch_size, active=ranks.first) as log,
        tqdm(
            total=schedule.num_steps * schedule.batch_size,
            initial=first_step * schedule.batch_size,
            unit="img",
            desc="train",
            dynamic_ncols=True,
            disable=not (progress and ranks.first),
        ) as bar,
    ):
        ap: Mapping[str, float] = {}
        started, logged_step = time.monotonic(), first_step
        for step, batch in zip(range(first_step, schedule.num_steps), batches(first_step), strict=True):
            images = (step + 1) * schedule.batch_size
            if schedule.sorts_channels_at(step):
                sort_for_phase(network, average, optimizer)
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
            if step in checkpoint_steps and ranks.first:
                _save(run_folder, identity, network, optimizer, average, fabric, step + 1)
    return average.applied_to(network)


def step_subnets(network: DetectionNetwork, config: TrainConfig, step: int) -> StepSubnets:
    """The subnets of a step, all of one resolution."""
    return config.schedule.subnets_at(network.subnets, step, seed=config.seed)


class TrainingStep:
    """One optimiser step: forward and backward passes, targets and losses, clipping, and the change of the weights.

    Args:
        network: whose weights change.
        module: the network as Fabric set it up.
        optimizer: as Fabric set it up.
        fabric: accelerator and precision.
        config: of the training.
        ranks: that share each batch.
    """

    def __init__(
        self,
        network: DetectionNetwork,
        module: nn.Module,
        optimizer: Any,
        fabric: Fabric,
        config: TrainConfig,
        ranks: Ranks,
    ) -> None:
        self._network = network
        self._module = module
        self._optimizer = optimizer
        self._fabric = fabric
        self._config = config
        self._ranks = ranks
        self._grids: dict[int, AnchorGrid] = {}

    def __call__(self, step: int, batch: Batch) -> list[DetectionLosses]:
        """Trains the step's subnets on this rank's part of the batch; gives the losses of each on all of it.

        Raises:
            ValueError: losses or gradients that are not finite.
        """
        config = self._config
        subnets = step_subnets(self._network, config, step)
        resolution = subnets.resolution
        if resolution not in self._grids:
            self._grids[resolution] = self._network.grid(subnets.trained[0]).to(self._fabric.device)
        self._optimizer.zero_grad()
        losses = self._gradients(step, self._grids[resolution], batch, subnets)
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
        if not torch.stack(finite).all():
            raise ValueError(
                f"expected finite losses and gradients, found {[float(part.total) for part in losses]} and a gradient "
                f"of norm {norm} at step {step}; lower schedule.learning_rate"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = config.schedule.learning_rate_at(step)
        self._optimizer.step()
        return losses

    def _gradients(self, step: int, grid: AnchorGrid, batch: Batch, subnets: StepSubnets) -> list[DetectionLosses]:
        """Fills in the gradients, of a batch that may be in parts; gives each subnet's losses."""
        config = self._config
        accumulate = partial(
            accumulate_gradients,
            self._run,
            grid,
            subnets=subnets.trained,
            backward=self._fabric.backward,
            losses=config.schedule.losses_at(step, config.losses),
            teacher=subnets.teacher,
        )
        if config.schedule.accumulate * self._ranks.count == 1:
            return accumulate(batch, assigner=config.assigner)
        normaliser = DeferredNormaliser(config.assigner, provisional=float(config.schedule.batch_size))
        parts = parts_of(batch, config.schedule.accumulate)
        found = [accumulate(part, assigner=normaliser) for part in parts]
        return add_up(list(self._network.parameters()), found, normaliser, self._ranks)

    def _run(self, images: Tensor, subnet: SubnetConfig) -> DetectorOutput:
        """The network in the training's precision; Fabric's module would refuse a frozen dataclass among its inputs."""
        with self._fabric.autocast():
            return cast(DetectorOutput, self._network(images, subnet))


def new_optimizer(network: nn.Module, schedule: ScheduleConfig, fabric: Fabric) -> torch.optim.Optimizer:
    """AdamW; on a GPU in one kernel, but not with a scaler, whose part Fabric leaves to such an optimizer."""
    fused = True if fabric.device.type == "cuda" and schedule.precision != "16-mixed" else None
    groups = _parameter_groups(network, schedule.weight_decay)
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=fused)


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
    fabric: Fabric,
    next_step: int,
) -> None:
    state = {
        "next_step": next_step,
        "identity": to_plain(identity),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.values,
        "precision": fabric.strategy.precision.state_dict(),
    }
    save_checkpoint(run_folder, state)


def _restore(
    run_folder: Path,
    identity: Mapping[str, Any],
    network: DetectionNetwork,
    optimizer: Any,
    average: WeightAverage,
    fabric: Fabric,
) -> int:
    """Loads what `_save` wrote; gives the next step."""
    state = load_checkpoint(run_folder)
    if state is None:
        return 0
    mend = "data, supernet or space have changed, so start anew in another --output"
    check_identity(state["identity"], identity, where=str(run_folder / CHECKPOINT_FILE), mend=mend)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    average.load(state["average"])
    if scaler := state.get("precision"):  # Of half precision; earlier checkpoints have none.
        fabric.strategy.precision.load_state_dict(scaler)
    logger.info("resuming at step %d", state["next_step"])
    return int(state["next_step"])
