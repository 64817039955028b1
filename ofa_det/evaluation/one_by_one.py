"""What runtimes of files have in common: they take one image at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from ofa_det.detection.detections import Detections
from ofa_det.detection.preprocessing import check_images


class OneByOne(ABC):
    """A `Predictor` of a file that detects objects image by image."""

    @property
    @abstractmethod
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""

    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Detects objects.

        Args:
            images: (B, H, W, 3) RGB, stretched to `input_size`.

        Returns:
            B detections.

        Raises:
            ValueError: images of another size or type, or a class that the file's manifest does not list.
        """
        check_images(images, self.input_size)
        return [self._predict_one(image) for image in images]

    @abstractmethod
    def _predict_one(self, image: NDArray[np.uint8]) -> Detections: ...
