"""Random weights under published key names, and the norm of a reference network."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def normed(x: Tensor, state: State, norm: str, epsilon: float) -> Tensor:
    mean, var, weight, bias = (
        state[f"{norm}.{key}"][: x.shape[1]] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, weight, bias, eps=epsilon)


def convolution(key: str, out: int, into: int, kernel: int = 1) -> dict[str, Tensor]:
    return {key: torch.randn(out, into, kernel, kernel) * (2 / (into * kernel**2)) ** 0.5}


def norm(name: str, channels: int) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch.rand(channels) + 0.5,
        f"{name}.bias": 0.1 * torch.randn(channels),
        f"{name}.running_mean": 0.1 * torch.randn(channels),
        f"{name}.running_var": torch.rand(channels) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }
