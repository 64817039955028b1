"""TensorFlow's SAME padding, so that the exported graph needs no PAD operators."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis so that the output has ceil(size / stride) elements."""
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def conv2d_same(images: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int = 1) -> Tensor:
    """Convolution with SAME padding.

    Args:
        images: (B, C, H, W).
        weight: (O, C / groups, k, k).
        bias: (O,) or none.
        stride: in both directions.
        groups: of channels.

    Returns:
        (B, O, ceil(H / stride), ceil(W / stride)).
    """
    kernel_size = weight.shape[-1]
    top, bottom = same_padding(images.shape[-2], kernel_size, stride)
    left, right = same_padding(images.shape[-1], kernel_size, stride)
    if top == bottom and left == right:
        return F.conv2d(images, weight, bias, stride, (top, left), groups=groups)
    return F.conv2d(F.pad(images, (left, right, top, bottom)), weight, bias, stride, groups=groups)
