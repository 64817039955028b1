"""State of a training beside its network: the average of the weights, and what a resumed run needs."""

from __future__ import annotations

import copy
import io
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.records import check_identity, to_plain

logger = logging.getLogger(__name__)
SCHEMA_VERSION = 3
CHECKPOINT_FILE = "last.ckpt"
ModuleT = TypeVar("ModuleT", bound=nn.Module)


class WeightAverage:
    """Exponential moving average of the parameters; buffers are left out, since batch norm is calibrated anew.

    Args:
        network: whose parameters are averaged, beginning with their present values.
    """

    def __init__(self, network: nn.Module) -> None:
        self.values = {name: p.detach().clone() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Moves the average towards the network by 1 - decay."""
        torch._foreach_lerp_(list(self.values.values()), [p.detach() for _, p in network.named_parameters()], 1 - decay)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Takes saved values."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @torch.no_grad()
    def applied_to(self, network: ModuleT) -> ModuleT:
        """A copy of the network with the averaged parameters, in eval mode."""
        averaged = copy.deepcopy(network)
        for name, p in averaged.named_parameters():
            p.copy_(self.values[name])
        return averaged.eval()


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What changes as a training goes on, and is kept in `last.ckpt`.

    Args:
        run_folder: of the training.
        identity: what a resumed training must share with what it goes on with.
        network: that trains.
        optimizer: of its weights, as Fabric set it up.
        average: of its weights.
        fabric: whose precision may have a scaler.
    """

    run_folder: Path
    identity: Mapping[str, Any]
    network: nn.Module
    optimizer: Any
    average: WeightAverage
    fabric: Fabric

    def save(self, next_step: int) -> None:
        """Writes `last.ckpt`, from which a training goes on at that step."""
        state = {
            "next_step": next_step,
            "identity": to_plain(self.identity),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.values,
            "precision": self.fabric.strategy.precision.state_dict(),
        }
        save_checkpoint(self.run_folder, state)

    def restore(self) -> int:
        """Loads what `save` wrote, if it has; gives the next step.

        Raises:
            ValueError: a checkpoint of another identity, or none that can be read.
        """
        state = load_checkpoint(self.run_folder)
        if state is None:
            return 0
        where, mend = str(self.run_folder / CHECKPOINT_FILE), "data, supernet or space have changed"
        check_identity(state["identity"], self.identity, where=where, mend=f"{mend}, so start anew in another --output")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load(state["average"])
        if scaler := state.get("precision"):  # Of half precision; earlier checkpoints have none.
            self.fabric.strategy.precision.load_state_dict(scaler)
        logger.info("resuming at step %d", state["next_step"])
        return int(state["next_step"])


def save_checkpoint(run_folder: str | Path, state: Mapping[str, Any]) -> None:
    """Writes `last.ckpt` atomically.

    Args:
        run_folder: of the training.
        state: tensors, numbers and state dicts.
    """
    buffer = io.BytesIO()
    torch.save({"schema_version": SCHEMA_VERSION, **state}, buffer)
    write_atomically(Path(run_folder) / CHECKPOINT_FILE, buffer.getvalue())


def load_checkpoint(run_folder: str | Path) -> dict[str, Any] | None:
    """Reads `last.ckpt`; none if the training never wrote one.

    Raises:
        ValueError: another schema version or a file that is no checkpoint.
    """
    path = Path(run_folder) / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError) as error:
        raise ValueError(f"expected a checkpoint in {path}, found {error!r:.200}; delete it to start anew") from error
    if state.get("schema_version") != SCHEMA_VERSION:
        found = state.get("schema_version")
        raise ValueError(f"expected {path} of schema_version {SCHEMA_VERSION}, found {found}; delete it to start anew")
    return state
