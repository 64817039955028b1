"""A folder of pictures without annotations, read like a data set."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ofa_det.data.annotations import Annotations
from ofa_det.data.images import image_sizes, read_image

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


class ImageSource(Protocol):
    """Images that a teacher labels: a data set, or a folder."""

    def __len__(self) -> int: ...

    def image_id(self, index: int) -> int:
        """The image's id."""
        ...

    def file_name(self, index: int) -> str:
        """The image's file name, relative to the image folder."""
        ...

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width), in pixels."""
        ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """The image as (H, W, 3) RGB; raises ValueError if its pixels cannot be decoded."""
        ...

    def annotations(self, index: int) -> Annotations:
        """Its boxes."""
        ...

    def fingerprint(self) -> str:
        """Hash of which images these are."""
        ...


class ImageFolder:
    """The pictures of a folder and of those in it, ordered by their names; ids count them from 1.

    Args:
        folder: where they lie.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no picture in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"expected a folder of pictures, found nothing at {folder}")
        self._folder = folder
        paths = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        self._names = sorted(path.relative_to(folder).as_posix() for path in paths)
        if not self._names:
            raise ValueError(f"expected pictures ({', '.join(sorted(SUFFIXES))}) in {folder}, found none")
        self._sizes = [self._size(name) for name in self._names]

    def __len__(self) -> int:
        return len(self._names)

    def image_id(self, index: int) -> int:
        """Its number, from 1."""
        return index + 1

    def file_name(self, index: int) -> str:
        """Relative to the folder."""
        return self._names[index]

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) as viewed, in pixels; 0 of a file whose header cannot be read."""
        return self._sizes[index]

    def image(self, index: int) -> NDArray[np.uint8]:
        """The image as (H, W, 3) RGB.

        Raises:
            ValueError: its pixels cannot be decoded.
        """
        return read_image(self._folder / self._names[index])

    def annotations(self, index: int) -> Annotations:
        """None."""
        return Annotations.none()

    def fingerprint(self) -> str:
        """Hash of names and sizes, in order; hexadecimal."""
        lines = "".join(f"{name} {size}\n" for name, size in zip(self._names, self._sizes, strict=True))
        return hashlib.sha256(lines.encode()).hexdigest()

    def _size(self, name: str) -> tuple[int, int]:
        try:
            return image_sizes(self._folder / name)[-1]
        except ValueError:
            return 0, 0
