"""How training images are varied. A file of its own, since `ofa_det.data.augmentation` takes seconds to import."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ofa_det.data.windows import MIN_CROP_SHARE


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
        iou_crop: probability that SSD's crop takes the place of the window: 0.3 to 1 of each side, with a drawn
            minimum IoU with an object (SSD, section 2.2); enlarges up to 3.3 times.
        zoom_out: probability that the image is put on a grey canvas, of which the crop by IoU, if there is one, is
            taken; without a crop the canvas takes the place of the window (SSD, section 3.6).
        max_zoom_out: largest factor between the sides of canvas and image; at least 1.
        mosaic: probability that four images, each varied as above, are tiled 2 x 2 into one (YOLOv4, section 3.3); not
            in the closing phase of training.
        reduced_decoding: decode JPEGs at 1/2, 1/4 or 1/8 of their size where the shorter side keeps as many pixels as
            the largest magnification needs at the run's greatest resolution. Faster for large photographs, and
            smoother than the plain stretch that validation uses.
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    zoom: float = 0.6
    min_magnification: float = 0.6
    max_magnification: float = 1.8
    aspect_jitter: float = 1.2
    colour_jitter: float = 0.2
    hue_jitter: float = 0.02
    iou_crop: float = 0.0
    zoom_out: float = 0.0
    max_zoom_out: float = 4.0
    mosaic: float = 0.0
    reduced_decoding: bool = False

    def __post_init__(self) -> None:
        for name in ("horizontal_flip", "vertical_flip", "zoom", "iou_crop", "zoom_out", "mosaic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected a probability for {name}, found {getattr(self, name)}")
        if not 0 < self.min_magnification <= self.max_magnification:
            raise ValueError(
                f"expected 0 < min_magnification <= max_magnification, found {self.min_magnification} and "
                f"{self.max_magnification}"
            )
        for name in ("aspect_jitter", "max_zoom_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, found {getattr(self, name)}")
        if not 0 <= self.colour_jitter < 1:
            raise ValueError(f"expected 0 <= colour_jitter < 1, found {self.colour_jitter}")
        if not 0 <= self.hue_jitter <= 0.5:
            raise ValueError(f"expected 0 <= hue_jitter <= 0.5, found {self.hue_jitter}")

    @property
    def largest_magnification(self) -> float:
        """By how much a side of the image may be enlarged at most, relative to the whole image at the input's size."""
        window = self.max_magnification * math.sqrt(self.aspect_jitter) if self.zoom > 0 else 1.0
        crop = 1 / MIN_CROP_SHARE if self.iou_crop > 0 else 1.0
        return max(1.0, window, crop)
