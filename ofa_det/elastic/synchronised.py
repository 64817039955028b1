"""Batch norm over the images of several processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Gather = Callable[[Tensor], Tensor]
"""(...) of this process to (processes, ...) of all; gradients of all of them flow back to each."""


def synchronise_batch_norm(network: nn.Module, gather: Gather) -> None:
    """Replaces the batch norms of a network by ones that normalise by the images of all processes.

    Parameters, buffers and their names stay.

    Args:
        network: changed in place.
        gather: gathers the statistics.
    """
    for module in list(network.modules()):
        for name, child in module._modules.items():
            if isinstance(child, nn.BatchNorm2d):
                module._modules[name] = SynchronisedBatchNorm2d(child, gather)


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of the first channels, in training by the mean and variance over the batches of all processes.

    As `ElasticBatchNorm2d` it keeps no statistics in training; whoever ships the network calibrates it. torch's own
    `SyncBatchNorm` runs on GPUs alone and knows one width.

    Args:
        norm: whose parameters and buffers it takes over.
        gather: gathers the statistics; every process has as many images.
    """

    def __init__(self, norm: nn.BatchNorm2d, gather: Gather) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, device="meta")
        self._gather = gather
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.train(norm.training)

    def forward(self, features: Tensor) -> Tensor:
        """Normalises (B, C, H, W), C at most the layer's."""
        channels = features.shape[1]
        weight, bias = self.weight[:channels], self.bias[:channels]
        if not self.training:
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, variance = self.running_mean[:channels], self.running_var[:channels]
            return F.batch_norm(features, mean, variance, weight, bias, eps=self.eps)
        with torch.autocast(features.device.type, enabled=False):
            values = features.float()
            own_variance, own_mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
            means, variances = self._gather(torch.stack([own_mean, own_variance])).unbind(1)
            # Variance of a whole from the means and variances of equal parts; a sum of squares would cancel.
            variance, mean = variances.mean(0) + means.var(0, correction=0), means.mean(0)
            scale = weight * (variance + self.eps).rsqrt()
            # Centred first: in the gradient of the scale a large mean would cancel.
            centred = values - mean[:, None, None]
            return torch.addcmul(bias[:, None, None], centred, scale[:, None, None]).to(features.dtype)
