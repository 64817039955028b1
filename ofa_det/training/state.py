"""State of a training beside its network: the average of the weights, and what a resumed run needs."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ofa_det.artefacts.files import write_atomically

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
