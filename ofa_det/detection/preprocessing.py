"""Pixels to network input, the same in training, calibration and the exported file."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
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


def normalise_array(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Maps bytes to [-1, 1), as float32 of the same shape."""
    return (images.astype(np.float32) - PIXEL_MEAN) / PIXEL_SCALE


def check_images(images: NDArray[np.uint8], size: tuple[int, int]) -> None:
    """Refuses what no predictor takes.

    Args:
        images: (B, H, W, 3) RGB.
        size: the (height, width) that they must have, in pixels.

    Raises:
        ValueError: images of another size or type.
    """
    if images.dtype != np.uint8 or images.shape[1:] != (*size, 3):
        raise ValueError(
            f"expected uint8 images (B, {size[0]}, {size[1]}, 3), found {images.dtype} {images.shape}; stretch them"
        )
