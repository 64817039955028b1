"""Accelerator, precision and ranks of a training."""

from __future__ import annotations

import atexit
from typing import Any

import torch.distributed as dist
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.launch import launch
from ofa_det.training.config import TrainConfig


class _Alongside(DDPStrategy):
    """The ranks of a `torchrun`, each with a network as it is; `training.parts` says who adds up their gradients."""

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        return module


def open_fabric(config: TrainConfig) -> Fabric:
    """Accelerator and precision; under `torchrun` also the other ranks."""
    device, launched = checked_accelerator(config.accelerator), launch()
    options: dict[str, Any] = {"devices": 1 if device.index is None else [device.index]}
    if launched is not None:
        _check_ranks(config, launched.num_ranks)
        options = {
            "devices": launched.ranks_per_node,
            "num_nodes": launched.num_nodes,
            "strategy": _Alongside(),
        }
    try:
        fabric = Fabric(accelerator=device.type, precision=config.schedule.precision, **options)
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        count = 1 if launched is None else launched.num_ranks
        raise ValueError(
            f"expected accelerator {config.accelerator}, precision {config.schedule.precision} and {count} "
            f"{'ranks' if count > 1 else 'rank'} that Lightning Fabric can set up here, found: {error}"
        ) from error
    if launched is not None:
        fabric.launch()
        if device.type == "cpu":  # Of GPUs Fabric takes care; gloo aborts now and then if nobody does.
            atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Parts from the other ranks at exit."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _check_ranks(config: TrainConfig, count: int) -> None:
    schedule = config.schedule
    if ":" in config.accelerator:
        raise ValueError(
            f"expected --accelerator auto, cpu or cuda with torchrun, which gives each rank its own, found "
            f"{config.accelerator}"
        )
    if schedule.batch_size % (count * schedule.accumulate) or schedule.batch_size < 2 * count * schedule.accumulate:
        raise ValueError(
            f"expected schedule.batch_size, the images of all ranks, to give {count} ranks and accumulate "
            f"{schedule.accumulate} equal parts of at least 2 images, found {schedule.batch_size}"
        )
