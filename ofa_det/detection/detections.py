"""What a detector gives for one image, and what every detector can do, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Detections of one image, by descending score.

    Args:
        boxes: (N, 4) float32 xyxy, normalised to the network's input.
        scores: (N,) float32 in [0, 1].
        category_ids: (N,) int64, ids of the data set's categories.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    category_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


class Predictor(Protocol):
    """A detector that runs: a run folder, an `.onnx` or a `.tflite` file."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        ...

    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Detects objects.

        Args:
            images: (B, H, W, 3) RGB, stretched to `input_size`.

        Returns:
            B detections.
        """
        ...
