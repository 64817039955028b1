"""Images to a network's input, and boxes in that input back to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ofa_det.teachers.decoder import InputFormat


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where an image lies in the input.

    Args:
        left, top: of the image, in pixels of the input.
        width, height: of the image, in pixels of the input.
    """

    left: int
    top: int
    width: int
    height: int

    def to_image(self, boxes_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) xyxy in pixels of the input, normalised to the image."""
        offset = np.array([self.left, self.top] * 2, np.float32)
        size = np.array([self.width, self.height] * 2, np.float32)
        return np.asarray((boxes_px - offset) / size, np.float32)


def place(
    image: NDArray[np.uint8], size: tuple[int, int], input_format: InputFormat
) -> tuple[NDArray[np.uint8], Placement]:
    """Puts an image into the network's input, bilinearly.

    Args:
        image: (H, W, 3) RGB.
        size: (height, width) of the input, in pixels.
        input_format: of the network.

    Returns:
        The input as (height, width, 3) bytes in the order of its channels, and where the image lies in it.
    """
    if input_format.channels == "bgr":
        image = image[:, :, ::-1]
    if input_format.resize == "stretch":
        return _resized(image, size), Placement(left=0, top=0, width=size[1], height=size[0])
    ratio = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, int(side * ratio)) for side in image.shape[:2])
    top, left = (0, 0) if input_format.place == "top_left" else ((size[0] - height) // 2, (size[1] - width) // 2)
    padding = input_format.mean if input_format.padding is None else (input_format.padding,) * 3
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = np.rint(padding)
    canvas[top : top + height, left : left + width] = _resized(image, (height, width))
    return canvas, Placement(left=left, top=top, width=width, height=height)


def normalised(canvases: NDArray[np.uint8], input_format: InputFormat, dtype: type[Any]) -> NDArray[Any]:
    """Bytes (B, H, W, 3) to the tensor that the network takes."""
    values: NDArray[Any] = canvases
    if dtype is not np.uint8:
        values = canvases.astype(np.float32)
        if any(input_format.mean) or set(input_format.std) != {1.0}:
            values = (values - np.array(input_format.mean, np.float32)) / np.array(input_format.std, np.float32)
    if input_format.layout == "nchw":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values, dtype)


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if image.shape[:2] == size:
        return image
    resized = cv2.resize(np.ascontiguousarray(image), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
