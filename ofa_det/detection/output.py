"""What a detector network gives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class DetectorOutput(NamedTuple):
    """Raw output of a detector network.

    Args:
        box_codes: (B, A, 4) (dx, dy, dw, dh), see `box_coder`.
        logits: (B, A, C) class logits, before the sigmoid.
    """

    box_codes: Tensor
    logits: Tensor
