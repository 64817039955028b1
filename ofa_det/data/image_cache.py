"""Decoded images in memory that worker processes share."""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

ReadImage = Callable[[int], NDArray[np.uint8]]
"""Position in the data set -> (H, W, 3) RGB; raises `ValueError` if the pixels cannot be decoded."""


class ImageCache:
    """Reads each image once, for this process and all that are forked from it.

    The memory is one anonymous mapping, taken page by page as images arrive; an image whose slot is too small is read
    anew each time. Two processes may fill a slot at once, with the same pixels.

    Args:
        read: where images come from.
        slots: (N,) bytes that each image may take.
    """

    def __init__(self, read: ReadImage, slots: NDArray[np.int64]) -> None:
        self._read = read
        self._ends = np.cumsum(slots)
        self._slots = slots
        self._pixels = np.frombuffer(mmap.mmap(-1, max(1, int(slots.sum()))), np.uint8)
        # Height and width; the height is 0 until the pixels are there, and so is written last.
        self._sizes = np.frombuffer(mmap.mmap(-1, 8 * len(slots)), np.int32).reshape(-1, 2)

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """The image as (H, W, 3) RGB, read-only if it was kept."""
        start = int(self._ends[index] - self._slots[index])
        height, width = self._sizes[index].tolist()
        if height:
            kept = self._pixels[start : start + height * width * 3].reshape(height, width, 3)
            kept.flags.writeable = False
            return kept
        image = self._read(index)
        if image.nbytes <= self._slots[index]:
            self._pixels[start : start + image.nbytes] = image.ravel()
            self._sizes[index, 1], self._sizes[index, 0] = image.shape[1], image.shape[0]
        return image


def cached(read: ReadImage, slots: NDArray[np.int64], *, max_bytes: int) -> ReadImage:
    """The same images, kept in memory if all of them fit.

    Args:
        read: where images come from.
        slots: (N,) bytes of each image.
        max_bytes: that all of them may take; 0 keeps none.
    """
    total = int(slots.sum())
    if total <= max_bytes:
        return ImageCache(read, slots)
    if max_bytes:
        logger.warning(
            "no decoded image is kept: %d images take cache_mb %d, found %d",
            len(slots),
            -(-total // 10**6),
            max_bytes // 10**6,
        )
    return read
