"""What detectors give: raw outputs of a network, and detections of one image, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class DetectorOutput(NamedTuple):
    """Raw output of a detector network.

    Args:
        box_codes: (B, A, 4) (dx, dy, dw, dh), see `box_coder`.
        logits: (B, A, C) class logits, before the sigmoid.
        features: (B, D, H, W) of the levels that were asked for.
    """

    box_codes: Tensor
    logits: Tensor
    features: tuple[Tensor, ...] = ()


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
