"""Convolution and batch norm whose width and kernel follow from the layer they are called for."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_det.arch.layers import BATCH_NORM_EPSILON, ElasticLayer, Layer

BATCH_NORM_MOMENTUM = 0.1


def convolve(features: Tensor, weight: Tensor, bias: Tensor | None, layer: Layer) -> Tensor:
    """The convolution of a layer, with its padding.

    Args:
        features: (B, C, H, W) of the layer's input shape.
        weight: (O, C / groups, k, k).
        bias: (O,) or none.
        layer: says stride, groups and where the zeros go.

    Returns:
        (B, O, ceil(H / stride), ceil(W / stride)).
    """
    (top, bottom), (left, right) = layer.margins
    if top == bottom and left == right:
        return F.conv2d(features, weight, bias, layer.stride, (top, left), groups=layer.groups)
    padded = cast(Tensor, _Pad.apply(features, (left, right, top, bottom)))
    return F.conv2d(padded, weight, bias, layer.stride, groups=layer.groups)


class _Pad(torch.autograd.Function):
    """Zeros around features, whose gradient comes back dense in memory.

    That of `F.pad` is a strided view, on which the backward pass of the batch norm before it takes six times as long.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, margins: tuple[int, int, int, int]) -> Tensor:
        """Pads (B, C, H, W) by margins (left, right, top, bottom)."""
        ctx.margins, ctx.size = margins, features.shape[2:]
        return F.pad(features, margins)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Cuts the margins off."""
        (left, _, top, _), (height, width) = ctx.margins, ctx.size
        inside = gradients[0][:, :, top : top + height, left : left + width]
        return inside.contiguous(memory_format=torch.channels_last), None


def initial_std(kernel_size: int, out_channels: int, *, depthwise: bool) -> float:
    """Kaiming's for fan-out (He et al. 2015, section 2.2); the groups of a depthwise layer do not mix."""
    return math.sqrt(2.0) / math.sqrt(kernel_size**2 * (1 if depthwise else out_channels))


class ElasticConvolution(nn.Module):
    """Convolution of several widths and kernel sizes in one weight, followed by a batch norm or with a bias.

    It is cut to its first input and output channels (Once-for-All, section 3.3). A smaller kernel is the centre of the
    next larger one times a learned matrix that all channels share (figure 4); the matrices begin as identities.

    Args:
        layer: its greatest widths and its kernel sizes. One that uses the weights of another has a batch norm alone.
    """

    def __init__(self, layer: ElasticLayer) -> None:
        super().__init__()
        self.kernel_sizes = layer.kernel_sizes
        self.norm = ElasticBatchNorm2d(layer.out_channels, layer.batch_norm_epsilon) if layer.batch_norm else None
        self.bias: nn.Parameter | None = None
        if layer.weights_of is not None:
            return
        depthwise = layer.kind == "depthwise"
        side = layer.kernel_sizes[-1]
        self.weight = nn.Parameter(torch.empty(layer.out_channels, 1 if depthwise else layer.in_channels, side, side))
        self.bias = None if layer.batch_norm else nn.Parameter(torch.zeros(layer.out_channels))
        self.transforms = nn.ParameterDict({str(k): nn.Parameter(torch.eye(k * k)) for k in layer.kernel_sizes[:-1]})
        nn.init.normal_(self.weight, std=initial_std(side, layer.out_channels, depthwise=depthwise))

    def weights(self, layer: Layer) -> tuple[Tensor, Tensor | None]:
        """Weight (O, C / groups, k, k) and bias (O,) of the layer as a subnet has it.

        Raises:
            ValueError: a kernel size that this layer does not hold.
        """
        if layer.kernel_size not in self.kernel_sizes:
            raise ValueError(f"expected a kernel size of {self.kernel_sizes}, found {layer.kernel_size}")
        weight = self.weight[: layer.out_channels, : layer.in_channels // layer.groups]
        for size in reversed([k for k in self.kernel_sizes[:-1] if k >= layer.kernel_size]):
            border = (weight.shape[-1] - size) // 2
            centre = weight[..., border : border + size, border : border + size]
            weight = (centre.flatten(2) @ self.transforms[str(size)].T).reshape(centre.shape)
        return weight, None if self.bias is None else self.bias[: layer.out_channels]


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of the first channels.

    In training it uses the batch's own statistics and keeps none: averages over differing subnets describe no network.
    A subnet's statistics are computed after extraction (`models.calibration`). In eval mode the buffers here are used,
    which training leaves as they began: mean 0, variance 1, or those of pretrained weights.
    """

    def __init__(self, channels: int, epsilon: float = BATCH_NORM_EPSILON) -> None:
        super().__init__(channels, eps=epsilon, momentum=BATCH_NORM_MOMENTUM)

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
