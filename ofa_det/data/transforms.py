"""Random transforms of a training image and its boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa_det.data.annotations import Annotations


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """How training images are varied.

    Args:
        horizontal_flip: probability of a left-right flip.
        vertical_flip: probability of an up-down flip; for images without a natural "up", such as microscopy.
        zoom: probability that a random window takes the place of the whole image.
        min_magnification: smallest enlargement by the window; below 1 the image shrinks on a grey canvas.
        max_magnification: largest enlargement by the window; above 1 the image is cropped.
        aspect_jitter: largest factor between the width-to-height ratios of window and image; at least 1.
        colour_jitter: largest relative change of brightness, contrast and saturation; 0 to below 1.
        hue_jitter: largest shift of the hue, in turns of the colour circle; 0 to 0.5.
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    zoom: float = 0.6
    min_magnification: float = 0.6
    max_magnification: float = 1.8
    aspect_jitter: float = 1.2
    colour_jitter: float = 0.2
    hue_jitter: float = 0.02

    def __post_init__(self) -> None:
        for name in ("horizontal_flip", "vertical_flip", "zoom"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected a probability for {name}, found {getattr(self, name)}")
        if not 0 < self.min_magnification <= self.max_magnification:
            raise ValueError(
                f"expected 0 < min_magnification <= max_magnification, found {self.min_magnification} and "
                f"{self.max_magnification}"
            )
        if self.aspect_jitter < 1:
            raise ValueError(f"expected aspect_jitter >= 1, found {self.aspect_jitter}")
        if not 0 <= self.colour_jitter < 1:
            raise ValueError(f"expected 0 <= colour_jitter < 1, found {self.colour_jitter}")
        if not 0 <= self.hue_jitter <= 0.5:
            raise ValueError(f"expected 0 <= hue_jitter <= 0.5, found {self.hue_jitter}")


class Augmenter:
    """Varies an image and stretches it to the network's input.

    Boxes of which less than 0.3 of the area stays in the window, or which come out narrower or lower than 1 px, are
    dropped; the others are clipped to the window.

    Args:
        config: what to vary.
        resolution: side of the square result, in pixels.
    """

    def __init__(self, config: AugmentationConfig, resolution: int) -> None:
        # Imported here since albumentations takes seconds to load, which `--help` and evaluation need not wait for.
        from ofa_det.data.pipeline import build_pipeline

        self._pipeline = build_pipeline(config, resolution)

    def __call__(
        self, image: NDArray[np.uint8], annotations: Annotations, seed: int
    ) -> tuple[NDArray[np.uint8], Annotations]:
        """Transforms one sample; the same arguments give the same result.

        Args:
            image: (H, W, 3).
            annotations: its boxes, crowd boxes among them.
            seed: of every random choice.

        Returns:
            (resolution, resolution, 3) and the boxes that remain, in their order.
        """
        self._pipeline.set_random_seed(seed)
        rows = np.column_stack([annotations.boxes, annotations.labels, annotations.crowd]).astype(np.float32)
        result = self._pipeline(image=image, bboxes=rows)
        rows = np.asarray(result["bboxes"], np.float32)
        if not len(rows):
            return result["image"], Annotations.none()
        return result["image"], Annotations(
            boxes=rows[:, :4].clip(0, 1), labels=rows[:, 4].astype(np.int64), crowd=rows[:, 5] > 0
        )
