"""Resume state of a training: everything that is not a function of the step."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ofa_det.arch.files import write_atomically

SCHEMA_VERSION = 1
CHECKPOINT_FILE = "last.ckpt"


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
        raise ValueError(f"expected {path} of schema_version {SCHEMA_VERSION}, found {state.get('schema_version')}")
    return state
