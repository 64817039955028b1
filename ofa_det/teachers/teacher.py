"""What every teacher can do, whatever runs it, and the one rule by which overlapping detections are suppressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import batched_nms

from ofa_det.arch.classes import Category

MIN_SCORE = 0.01
"""Detections whose best class scores less are left out; YOLOX is evaluated with it. Thresholds come when labels are
read, and this one is below all that make sense."""

IOU_THRESHOLD = 0.65
"""Of two boxes of one best class that overlap by more than it, the weaker is suppressed; YOLOX is evaluated with it."""

MAX_DETECTIONS = 200
"""Detections kept for one image; COCO counts 100."""


@dataclass(frozen=True, kw_only=True)
class TeacherDetections:
    """What a teacher finds in one image, by descending score of the best class.

    Args:
        boxes: (N, 4) float32 xyxy, normalised to the image and clipped to it.
        scores: (N, C) float32 in [0, 1], of each of the teacher's categories; of a teacher that tells the best class
            alone, the others are 0.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)


class Teacher(Protocol):
    """A trained detector that labels images; it prepares them itself."""

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes it knows, in the order of its scores."""
        ...

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        """Detects objects.

        Args:
            images: B images (H, W, 3) RGB, each of a size of its own.

        Returns:
            B detections.
        """
        ...


def suppressed(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> TeacherDetections:
    """Raw boxes to detections: `MIN_SCORE`, suppression among boxes of one best class, `MAX_DETECTIONS`.

    Args:
        boxes: (A, 4) xyxy, normalised to the image; parts beyond it are clipped, boxes without extent left out.
        scores: (A, C) in [0, 1], C at least 1.
    """
    best = scores.max(axis=1)
    boxes = boxes.clip(0, 1).astype(np.float32)
    rows = np.flatnonzero((best >= MIN_SCORE) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    labels = scores[rows].argmax(axis=1)
    kept = batched_nms(
        torch.from_numpy(boxes[rows]),
        torch.from_numpy(best[rows].astype(np.float32)),
        torch.from_numpy(labels),
        IOU_THRESHOLD,
    )
    rows = rows[kept.numpy()[:MAX_DETECTIONS]]
    return TeacherDetections(boxes=boxes[rows], scores=scores[rows].astype(np.float32))
