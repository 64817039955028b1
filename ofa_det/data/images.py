"""Image files -> RGB arrays, and the one way an image reaches a network's input size."""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Of the files in a folder that are taken for images, in lower case."""

MAX_PIXELS = 178_956_970
"""Twice `PIL.Image.MAX_IMAGE_PIXELS`: what PIL refuses to decode."""

MID_GREY = 128
"""Fills what no image covers; it is the value that preprocessing maps to zero."""

# Modes in which PIL hands out 16-bit samples as they are; its own conversion to 8 bits would clip them at 255.
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
# EXIF orientations (TIFF 6.0, tag 274) that turn the image by a quarter, so that its sides change places.
_QUARTER_TURNS = (5, 6, 7, 8)


def read_image(
    path: str | os.PathLike[str], size: tuple[int, int] | None = None, *, min_side: int | None = None
) -> NDArray[np.uint8]:
    """Reads an image file of any kind as 8-bit RGB.

    Grey, palette and CMYK images are converted, 16-bit samples keep their high byte, alpha is dropped. The EXIF
    orientation is applied, as image viewers and labelling tools do, with one exception: if it would turn the image by
    a quarter and only the pixels as stored have the stated size, whoever wrote the annotations did not apply it, and
    neither does this.

    Args:
        path: the file.
        size: (height, width) that the annotations state, in pixels.
        min_side: decode a JPEG at 1/2, 1/4 or 1/8 of its size, the smallest whose shorter side has so many pixels; by
            default, and where none has, at its full size.

    Returns:
        (H, W, 3) RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, or is damaged.
    """
    try:
        with Image.open(path) as image:
            stored_size = image.height, image.width
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            as_stored = orientation == 1 or (orientation in _QUARTER_TURNS and size == stored_size != stored_size[::-1])
            if min_side is not None:
                image.draft(None, (min_side, min_side))  # PIL keeps both sides at this size or above.
            return _to_rgb(image if as_stored else ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"expected an image, found nothing at {os.fspath(path)}") from error
    except Exception as error:  # PIL's decoders raise anything from SyntaxError to struct.error on damaged files.
        raise ValueError(
            f"expected a readable image in {os.fspath(path)}, found {_fault(error)}; replace it"
        ) from error


def _fault(error: Exception) -> str:
    """What PIL has refused."""
    if isinstance(error, UnidentifiedImageError):
        return "no image, or the beginning of one"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS} pixels"
    return " ".join(str(error).split())[:100] or "damaged data"


def reduction(sizes: NDArray[np.int64], min_side: int) -> NDArray[np.int64]:
    """(N,) 1, 2, 4 or 8: by how much the sides of JPEGs may be divided so that the shorter keeps `min_side` pixels.

    Args:
        sizes: (N, 2), in pixels.
        min_side: in pixels.
    """
    possible = np.array([1, 2, 4, 8])
    return np.asarray(possible[np.searchsorted(possible, sizes.min(axis=1) // min_side, side="right").clip(1) - 1])


def image_sizes(path: str | os.PathLike[str]) -> tuple[tuple[int, int], ...]:
    """The sizes an image may be annotated in, from the file's header alone.

    Returns:
        (height, width) as stored; where the EXIF orientation makes a difference, the size as viewed follows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the header is not that of an image.
    """
    try:
        with Image.open(path) as image:
            stored = image.height, image.width
            turned = "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation, 1) in _QUARTER_TURNS
            return (stored, stored[::-1]) if turned else (stored,)
    except FileNotFoundError:
        raise
    except Exception as error:  # As in `read_image`.
        raise ValueError(f"expected an image in {os.fspath(path)}, found {_fault(error)}; replace it") from error


def stretch(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Stretches an image to a network's input, bilinearly and without letterbox, as OVIC does.

    Args:
        image: (H, W, 3).
        size: (height, width) of the result, in pixels.

    Returns:
        (height, width, 3).
    """
    if image.shape[:2] == size:
        return image
    height, width = size
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _SIXTEEN_BIT_MODES:
        grey = (np.asarray(image).clip(0, 0xFFFF) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("P", "PA", "LA"):
        image = image.convert("RGBA")  # A palette with transparency has no direct way to RGB.
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
