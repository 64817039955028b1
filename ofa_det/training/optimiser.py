"""One step of the optimiser, and what it moves at which rate."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.batch import Batch
from ofa_det.detection.assignment import make_assigner
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.losses import DetectionLosses
from ofa_det.detection.targets import AnchorGrid
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.ranks import Ranks
from ofa_det.training.config import TrainConfig
from ofa_det.training.parts import DeferredNormaliser, add_up, parts_of
from ofa_det.training.schedule import ScheduleConfig, StepSubnets
from ofa_det.training.step import accumulate_gradients


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
        self._assigner = make_assigner(config.assigner)
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
            group["lr"] = config.schedule.learning_rate_at(step) * group.get("rate", 1.0)
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
            feature_weight=config.teacher.feature_weight,
        )
        if config.schedule.accumulate * self._ranks.count == 1:
            return accumulate(batch, assigner=self._assigner)
        normaliser = DeferredNormaliser(self._assigner, provisional=float(config.schedule.batch_size))
        parts = parts_of(batch, config.schedule.accumulate)
        found = [accumulate(part, assigner=normaliser) for part in parts]
        return add_up(list(self._network.parameters()), found, normaliser, self._ranks)

    def _run(self, images: Tensor, subnet: SubnetConfig, feature_levels: tuple[int, ...]) -> DetectorOutput:
        """The network in the training's precision; Fabric's module would refuse a frozen dataclass among its inputs."""
        with self._fabric.autocast():
            return cast(DetectorOutput, self._network(images, subnet, feature_levels))


def new_optimizer(network: nn.Module, schedule: ScheduleConfig, fabric: Fabric) -> torch.optim.Optimizer:
    """AdamW; on a GPU in one kernel, but not with a scaler, whose part Fabric leaves to such an optimizer."""
    fused = True if fabric.device.type == "cuda" and schedule.precision != "16-mixed" else None
    groups = _parameter_groups(network, schedule)
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=fused)


def _parameter_groups(network: nn.Module, schedule: ScheduleConfig) -> list[dict[str, Any]]:
    """Decay for convolution weights alone, not for norms, biases and kernel transforms; the backbone's own rate."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        rate = schedule.backbone_rate if name.startswith("backbone.") else 1.0
        decay = schedule.weight_decay if parameter.ndim == 4 else 0.0
        found.setdefault((rate, decay), []).append(parameter)
    return [{"params": group, "rate": rate, "weight_decay": decay} for (rate, decay), group in found.items()]
