"""Pixels to network input, the same in training, calibration and the exported file."""

from __future__ import annotations

import torch
from torch import Tensor

PIXEL_MEAN = 128.0
PIXEL_SCALE = 128.0
"""(x - 128) / 128 is a uint8 input of scale 1/128 and zero point 128, the mean and std OVIC submissions use."""


def normalise(images: Tensor) -> Tensor:
    """Maps bytes to [-1, 1).

    Args:
        images: (B, 3, H, W) uint8.

    Returns:
        (B, 3, H, W) float32, channels last in memory.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    return images.float().sub_(PIXEL_MEAN).div_(PIXEL_SCALE)
