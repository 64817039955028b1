"""Devices that a command can run on."""

from __future__ import annotations

import torch


def checked_device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        ValueError: no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"expected a device that torch has here, such as cpu, found {name!r}") from error
    return device
