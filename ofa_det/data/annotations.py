"""The boxes of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Boxes of one image.

    Args:
        boxes: (G, 4) xyxy, normalised to the image.
        labels: (G,) positions in the data set's `categories`.
        crowd: (G,) whether the box covers a group of objects rather than one (COCO's `iscrowd`).
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls) -> Annotations:
        """No boxes."""
        return cls(boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64), crowd=np.zeros(0, np.bool_))
