"""Torch devices that networks run on."""

from __future__ import annotations

import torch


def checked_accelerator(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        ValueError: no such device here.
    """
    try:
        accelerator = torch.device(name)
        torch.empty(0, device=accelerator)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"expected an accelerator that torch has here, such as cpu, found {name!r}") from error
    return accelerator
