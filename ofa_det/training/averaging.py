"""Exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of the parameters; buffers are left out, since batch-norm statistics are calibrated anew.

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
    def copy_to(self, network: nn.Module) -> None:
        """Overwrites the network's parameters by the average."""
        for name, p in network.named_parameters():
            p.copy_(self.values[name])
