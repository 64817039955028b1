"""Convolutions whose width and kernel are arguments of the call."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ofa_det.elastic.normalisation import ElasticBatchNorm2d
from ofa_det.elastic.padding import conv2d_same


class ElasticConv2d(nn.Module):
    """Convolution that can be cut to its first input and output channels (Once-for-All, section 3.3).

    Args:
        in_channels, out_channels: the greatest.
        kernel_size: in pixels.
        batch_norm: a batch norm follows; otherwise there is a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = None if batch_norm else nn.Parameter(torch.zeros(out_channels))
        self.norm = ElasticBatchNorm2d(out_channels) if batch_norm else None
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def cut(self, in_channels: int, out_channels: int) -> tuple[Tensor, Tensor | None]:
        """Weight (out, in, k, k) and bias (out,) of the cut layer."""
        return self.weight[:out_channels, :in_channels], None if self.bias is None else self.bias[:out_channels]

    def forward(self, features: Tensor, out_channels: int, stride: int = 1) -> Tensor:
        """Applies the first `out_channels` filters to however many channels come in.

        Args:
            features: (B, C, H, W), C at most the layer's.
            out_channels: at most the layer's.
            stride: in both directions.

        Returns:
            (B, out_channels, ceil(H / stride), ceil(W / stride)).
        """
        weight, bias = self.cut(features.shape[1], out_channels)
        features = conv2d_same(features, weight, bias, stride)
        return features if self.norm is None else self.norm(features)


class ElasticDepthwiseConv2d(nn.Module):
    """Depthwise convolution of several kernel sizes in one weight, with batch norm.

    A smaller kernel is the centre of the next larger one times a learned matrix that all channels share (Once-for-All,
    section 3.3, figure 4). The matrices begin as identities.

    Args:
        channels: greatest number of channels.
        kernel_sizes: ascending; the last is the size of the weight.
    """

    def __init__(self, channels: int, kernel_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel_sizes = kernel_sizes
        side = kernel_sizes[-1]
        self.weight = nn.Parameter(torch.empty(channels, 1, side, side))
        self.norm = ElasticBatchNorm2d(channels)
        self.transforms = nn.ParameterDict({str(k): nn.Parameter(torch.eye(k * k)) for k in kernel_sizes[:-1]})
        # Kaiming fan-out of a depthwise layer is the kernel's area alone: the groups do not mix.
        nn.init.normal_(self.weight, std=math.sqrt(2.0) / side)

    def cut(self, channels: int, kernel_size: int) -> Tensor:
        """Weight (channels, 1, k, k) of the cut layer.

        Raises:
            ValueError: a kernel size that the layer does not hold.
        """
        if kernel_size not in self.kernel_sizes:
            raise ValueError(f"expected a kernel size of {self.kernel_sizes}, found {kernel_size}")
        weight = self.weight[:channels]
        for size in reversed([k for k in self.kernel_sizes[:-1] if k >= kernel_size]):
            border = (weight.shape[-1] - size) // 2
            centre = weight[..., border : border + size, border : border + size].reshape(channels, -1)
            weight = (centre @ self.transforms[str(size)].T).reshape(channels, 1, size, size)
        return weight

    def forward(self, features: Tensor, kernel_size: int, stride: int = 1) -> Tensor:
        """Filters each channel.

        Args:
            features: (B, C, H, W), C at most the layer's.
            kernel_size: one of the layer's.
            stride: in both directions.

        Returns:
            (B, C, ceil(H / stride), ceil(W / stride)).
        """
        channels = features.shape[1]
        weight = self.cut(channels, kernel_size)
        normalised: Tensor = self.norm(conv2d_same(features, weight, None, stride, groups=channels))
        return normalised
