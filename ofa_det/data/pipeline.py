"""The albumentations pipeline behind `ofa_det.data.transforms.Augmenter`."""

from __future__ import annotations

import math
import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# albumentations asks a server for a newer release while it is imported; training has no business on the network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

from ofa_det.data.images import MID_GREY, stretch
from ofa_det.data.transforms import AugmentationConfig

MIN_VISIBILITY = 0.3
"""Share of a box's area that has to stay in the window (SSD, section 2.2 keeps boxes by their centre instead)."""

_ATTEMPTS = 10


def build_pipeline(config: AugmentationConfig, resolution: int) -> A.Compose:
    """Window and stretch first, so that flips and colours are computed on the few pixels that remain."""
    jitter = config.colour_jitter
    colours = A.ColorJitter(
        brightness=(1 - jitter, 1 + jitter),
        contrast=(1 - jitter, 1 + jitter),
        saturation=(1 - jitter, 1 + jitter),
        hue=(-config.hue_jitter, config.hue_jitter),
        p=float(jitter > 0 or config.hue_jitter > 0),
    )
    return A.Compose(
        [
            RandomWindow(config, resolution),
            A.HorizontalFlip(p=config.horizontal_flip),
            A.VerticalFlip(p=config.vertical_flip),
            colours,
        ],
        bbox_params=A.BboxParams(
            format="albumentations", min_visibility=MIN_VISIBILITY, min_width=1, min_height=1, clip=True
        ),
    )


class RandomWindow(A.DualTransform):  # type: ignore[misc]  # albumentations carries no types
    """Stretches a random window of the image, which may reach beyond it, to a square.

    Magnification and aspect ratio are drawn log-uniformly and relative to the image, so that the mean distortion is
    that of the plain stretch. Of the windows drawn, the first that keeps a box is taken, the whole image if none does.

    Args:
        config: bounds of the window.
        resolution: side of the result, in pixels.
    """

    _targets = (A.core.type_definitions.Targets.IMAGE, A.core.type_definitions.Targets.BBOXES)

    def __init__(self, config: AugmentationConfig, resolution: int) -> None:
        super().__init__(p=1.0)
        self.config = config
        self.resolution = resolution

    @property
    def targets_as_params(self) -> list[str]:
        """The window depends on the boxes."""
        return ["bboxes"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draws the window, in pixels as x1, y1, x2, y2."""
        height, width = params["shape"][:2]
        if self.py_random.random() < self.config.zoom:
            boxes = data["bboxes"][:, :4] * np.array([width, height, width, height])
            for _ in range(_ATTEMPTS):
                window = self._draw_window(height, width)
                if not len(boxes) or _visibility(boxes, window).max() >= MIN_VISIBILITY:
                    return {"window": window}
        return {"window": (0, 0, width, height)}

    def apply(self, img: NDArray[np.uint8], window: tuple[int, int, int, int], **params: Any) -> NDArray[np.uint8]:
        """Cuts the window out of the image; what lies beyond it is grey."""
        height, width = img.shape[:2]
        x1, y1, x2, y2 = window
        part = img[max(0, y1) : min(height, y2), max(0, x1) : min(width, x2)]
        margins = max(0, -y1), max(0, y2 - height), max(0, -x1), max(0, x2 - width)
        if any(margins):
            grey = (MID_GREY,) * 3
            part = np.asarray(cv2.copyMakeBorder(part, *margins, cv2.BORDER_CONSTANT, value=grey), np.uint8)
        return stretch(part, (self.resolution, self.resolution))

    def apply_to_bboxes(
        self, bboxes: NDArray[np.float32], window: tuple[int, int, int, int], **params: Any
    ) -> NDArray[np.float32]:
        """Moves (N, 4 + extra) normalised boxes into the window; parts beyond it are left to the pipeline to clip."""
        height, width = params["shape"][:2]
        x1, y1, x2, y2 = window
        moved = bboxes.copy()
        moved[:, [0, 2]] = (bboxes[:, [0, 2]] * width - x1) / (x2 - x1)
        moved[:, [1, 3]] = (bboxes[:, [1, 3]] * height - y1) / (y2 - y1)
        return moved

    def _draw_window(self, height: int, width: int) -> tuple[int, int, int, int]:
        config = self.config
        side = math.exp(-self.py_random.uniform(math.log(config.min_magnification), math.log(config.max_magnification)))
        stretched = math.exp(self.py_random.uniform(-0.5, 0.5) * math.log(config.aspect_jitter))
        bounds = []
        for length, share in ((width, side * stretched), (height, side / stretched)):
            extent = max(1, round(length * share))
            start = round(self.py_random.uniform(0, length - extent))
            bounds.append((start, start + extent))
        (x1, x2), (y1, y2) = bounds
        return x1, y1, x2, y2


def _visibility(boxes: NDArray[np.float32], window: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """(N,) share of the area of each xyxy box that lies in the window."""
    low, high = np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])
    areas: NDArray[np.float32] = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray((high - low).clip(0).prod(axis=1) / areas, np.float32)
