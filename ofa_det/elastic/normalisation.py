"""Batch norm that follows its input's width."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of the first channels.

    In training it uses the batch's own statistics and keeps none: averages over differing subnets describe no network.
    A subnet's statistics are computed after extraction (`models.calibration`). In eval mode the buffers here are used,
    which training leaves as they began: mean 0, variance 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.1)

    def forward(self, features: Tensor) -> Tensor:
        """Normalises (B, C, H, W), C at most the layer's."""
        channels = features.shape[1]
        assert self.running_mean is not None
        assert self.running_var is not None
        return F.batch_norm(
            features,
            None if self.training else self.running_mean[:channels],
            None if self.training else self.running_var[:channels],
            self.weight[:channels],
            self.bias[:channels],
            training=self.training,
            eps=self.eps,
        )
