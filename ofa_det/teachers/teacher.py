"""What every teacher can do, whatever runs it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.detection.detections import Detections


class Teacher(Protocol):
    """A trained detector that labels images for a smaller one; it prepares the images itself."""

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes it knows, by ascending id."""
        ...

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Detects objects.

        Args:
            image: (H, W, 3) RGB, of any size.

        Returns:
            Detections of `categories`, boxes normalised to the image.
        """
        ...
