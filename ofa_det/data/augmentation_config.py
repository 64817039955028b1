"""How training images are varied. A file of its own, since `ofa_det.data.augmentation` takes seconds to import."""

from __future__ import annotations

from dataclasses import dataclass


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
        mosaic: probability that four images, each varied as above, are tiled 2 x 2 into one (YOLOv4, section 3.3); not
            in the closing phase of training.
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    zoom: float = 0.6
    min_magnification: float = 0.6
    max_magnification: float = 1.8
    aspect_jitter: float = 1.2
    colour_jitter: float = 0.2
    hue_jitter: float = 0.02
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizontal_flip", "vertical_flip", "zoom", "mosaic"):
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
