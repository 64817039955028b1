"""Torch devices that networks run on."""

from __future__ import annotations

import re

import torch

from ofa_det.models.launch import launch

_NAME = re.compile(r"cpu|cuda(:[0-9]+)?")


def checked_accelerator(name: str) -> torch.device:
    """The torch device of that name.

    Args:
        name: cpu, cuda, cuda:N, or auto, which is cuda where there is one and cpu elsewhere. Of the ranks of a
            `torchrun` each has a cuda of its own.

    Raises:
        ValueError: another name, or no such device here.
    """
    found = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    if found == "cuda" and (launched := launch()):
        found = f"cuda:{launched.local_rank}"
    error: Exception | None = None
    if _NAME.fullmatch(found):
        try:
            torch.empty(0, device=found)
            return torch.device(found)
        except (RuntimeError, AssertionError) as refusal:
            error = refusal
    raise ValueError(
        f"expected an accelerator that torch has here, of auto, cpu, cuda and cuda:N, found {name!r}"
    ) from error
