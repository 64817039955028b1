"""Images that are in two parts of a data set at once, as the same file or as the same picture."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8
"""A hash has one bit for each of 8 x 8 neighbouring pairs of cells: whether the right one is brighter (dHash)."""

MOST_BITS = 3
"""Bits in which the hashes of one picture may differ after it was scaled or compressed anew."""

MOST_DIFFERENCE = 12
"""Grey levels of 255 by which no place of the small pictures may differ.

A mean would forgive drawn pictures the one small object in which they differ on a ground that they share. Copies at
half the size or JPEG quality 20 differ by 10 at most, other drawings on white by 20 at least, photographs by 34.
"""

_BANDS = MOST_BITS + 1
_BITS = HASH_SIDE * HASH_SIDE
_SMALL_SIDE = 16
_COMPARED = 64


@dataclass(frozen=True, kw_only=True)
class ImagePrint:
    """What an image is recognised by.

    Args:
        file: hash of the file's bytes.
        bits: 64 bits, alike for pictures that look alike.
        small: (16, 16) the picture in grey.
    """

    file: bytes
    bits: int
    small: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """An image of one part that is also in the other; `kind` is "file" for equal bytes, "picture" for the look."""

    first: str
    second: str
    kind: Literal["file", "picture"]


def image_print(path: Path, image: NDArray[np.uint8]) -> ImagePrint:
    """The print of an image.

    Args:
        path: its file.
        image: (H, W, 3) its pixels, of any size.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return ImagePrint(
        file=digest,
        bits=int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big"),
        small=np.asarray(cv2.resize(grey, (_SMALL_SIDE, _SMALL_SIDE), interpolation=cv2.INTER_AREA), np.uint8),
    )


def duplicates(first: Sequence[ImagePrint], second: Sequence[ImagePrint]) -> list[tuple[int, int, bool]]:
    """Which images of the second part are in the first too; the time grows with their number, not its square.

    Hashes that differ in three bits or fewer agree in one of four bands of 16 bits, so an image is compared with those
    alone that share a band with it, and of a crowded band with the first 64.

    Returns:
        Position in the first, position in the second, whether the files are equal; one for each image of the second
        that has a duplicate.
    """
    by_file = {known.file: position for position, known in reversed(list(enumerate(first)))}
    by_band: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position, known in enumerate(first):
        for band in _bands(known.bits):
            if len(by_band[band]) < _COMPARED:
                by_band[band].append(position)
    found = []
    for position, seen in enumerate(second):
        if seen.file in by_file:
            found.append((by_file[seen.file], position, True))
            continue
        candidates = dict.fromkeys(other for band in _bands(seen.bits) for other in by_band.get(band, ()))
        alike = next((other for other in candidates if _alike(first[other], seen)), None)
        if alike is not None:
            found.append((alike, position, False))
    return found


def _bands(bits: int) -> Iterator[tuple[int, int]]:
    width = _BITS // _BANDS
    for band in range(_BANDS):
        yield band, bits >> (band * width) & ((1 << width) - 1)


def _alike(first: ImagePrint, second: ImagePrint) -> bool:
    if (first.bits ^ second.bits).bit_count() > MOST_BITS:
        return False
    return int(np.abs(first.small.astype(np.int16) - second.small).max()) <= MOST_DIFFERENCE
