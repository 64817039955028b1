"""Random transforms of training images and their boxes.

Import this module where images are varied and nowhere else: albumentations takes seconds to load.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# albumentations asks a server for a newer release while it is imported; training has no business on the network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

from ofa_det.data.annotations import Annotations
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.images import MID_GREY, stretch
from ofa_det.data.windows import Window, are_fragments, crop_by_iou, zoom_out

_ATTEMPTS = 10
_BBOX_PARAMS = A.BboxParams(format="albumentations", min_width=1, min_height=1, clip=True)
_TILE_STREAM = 2  # Tells the tiles' seeds from what else is made of a draw's seed.
_TRANSFORM_STREAM = 4  # And the transforms'.

LabelledImage = tuple[NDArray[np.uint8], Annotations]
"""(H, W, 3) and its boxes."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where the pixels of a sample made of one image come from.

    Args:
        window: part of the image that is stretched to the sample, in pixels of the image.
        horizontal_flip: whether the window is then turned left to right.
        vertical_flip: whether it is turned upside down.
    """

    window: Window
    horizontal_flip: bool
    vertical_flip: bool

    def flipped(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) xyxy, normalised to the window, in the sample; a new array."""
        result = boxes.copy()
        if self.horizontal_flip:
            result[:, [0, 2]] = 1 - result[:, [2, 0]]
        if self.vertical_flip:
            result[:, [1, 3]] = 1 - result[:, [3, 1]]
        return result


class Augmenter:
    """Varies images and fits them to the network's input; the same arguments give the same result.

    One image fills the input. Four are varied each on its own and tiled 2 x 2 (mosaic, YOLOv4, section 3.3). Differs
    from the paper: the tiles meet in the middle, since each image already has a random window.

    Boxes are clipped to the window. Of what the window cuts off, nothing is trained as background: objects and crowd
    regions of which less than 0.3 of the area is left are ignored. Boxes that come out narrower or lower than 1 px are
    dropped.

    Args:
        config: what to vary.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        self._config = config
        self._pipelines: dict[tuple[int, int], A.Compose] = {}  # By (height, width) of their result.
        self._geometry = A.Compose(_moves(config, (1, 1)), bbox_params=_BBOX_PARAMS, save_applied_params=True)

    def __call__(self, images: Sequence[LabelledImage], *, resolution: int, seed: int) -> LabelledImage:
        """Makes one training sample.

        Args:
            images: one, or the four of a mosaic, in reading order.
            resolution: side of the square result, in pixels.
            seed: of every random choice.

        Returns:
            (resolution, resolution, 3) and the boxes that remain, in their order.

        Raises:
            ValueError: neither one image nor four.
        """
        if len(images) == 1:
            return self._vary(*images[0], (resolution, resolution), seed)
        if len(images) != 4:
            raise ValueError(f"expected one image or the four of a mosaic, found {len(images)}")
        return self._mosaic(images, resolution, seed)

    def geometry(self, image_size: tuple[int, int], annotations: Annotations, *, seed: int) -> Geometry:
        """Where the pixels of the sample come from that `__call__` makes of one image, at any resolution.

        Args:
            image_size: (height, width) of the image, in pixels.
            annotations: its boxes, on which the window depends.
            seed: as of `__call__`.
        """
        _set_seed(self._geometry, seed)
        result = self._geometry(image=np.zeros(image_size, np.uint8), bboxes=_rows(annotations))
        applied: dict[str, dict[str, Any]] = dict(result["applied_transforms"])
        return Geometry(
            window=applied[RandomWindow.__name__]["window"],
            horizontal_flip=A.HorizontalFlip.__name__ in applied,
            vertical_flip=A.VerticalFlip.__name__ in applied,
        )

    def _mosaic(self, images: Sequence[LabelledImage], resolution: int, seed: int) -> LabelledImage:
        half = resolution // 2  # Of an odd resolution, the lower and the right tiles get the pixel that is left.
        spans = (0, half), (half, resolution)
        seeds = np.random.SeedSequence((seed, _TILE_STREAM)).generate_state(4, np.uint64).tolist()
        canvas = np.empty((resolution, resolution, 3), np.uint8)
        found = []
        for whole, tile_seed, ((top, bottom), (left, right)) in zip(images, seeds, product(spans, spans), strict=True):
            height, width = bottom - top, right - left
            canvas[top:bottom, left:right], inside = self._vary(*whole, (height, width), tile_seed)
            boxes_px = inside.boxes * (width, height, width, height) + (left, top, left, top)
            found.append(replace(inside, boxes=(boxes_px / resolution).astype(np.float32)))
        return canvas, Annotations.joined(found)

    def _vary(
        self, image: NDArray[np.uint8], annotations: Annotations, size: tuple[int, int], seed: int
    ) -> LabelledImage:
        if size not in self._pipelines:
            self._pipelines[size] = _build_pipeline(self._config, size)
        pipeline = self._pipelines[size]
        _set_seed(pipeline, seed)
        result = pipeline(image=image, bboxes=_rows(annotations))
        rows = np.asarray(result["bboxes"], np.float32).reshape(-1, 6)
        kept, scores = rows[:, 4].astype(np.int64), annotations.class_scores
        return result["image"], Annotations(
            boxes=rows[:, :4].clip(0, 1),
            labels=annotations.labels[kept],
            ignored=rows[:, 5] > 0,
            class_scores=None if scores is None else scores[kept],
        )


def _set_seed(pipeline: A.Compose, seed: int) -> None:
    """Gives each transform a seed of its own.

    `Compose.set_random_seed` gives all of them the same: they would draw the same numbers, so that an image is flipped
    only if it is zoomed, and both ways or neither.
    """
    for number, transform in enumerate(pipeline.transforms):
        own = np.random.SeedSequence((seed, number, _TRANSFORM_STREAM)).generate_state(1, np.uint64)
        transform.set_random_seed(int(own[0]))


def _rows(annotations: Annotations) -> NDArray[np.float32]:
    """(G, 6) normalised xyxy, position among the annotations, ignored."""
    positions = np.arange(len(annotations))
    return np.column_stack([annotations.boxes, positions, annotations.ignored]).astype(np.float32)


def _moves(config: AugmentationConfig, size: tuple[int, int]) -> list[A.DualTransform]:
    """What moves pixels; each draws from a generator of its own, so that colours and `size` change nothing of it."""
    return [
        RandomWindow(config, size),
        A.HorizontalFlip(p=config.horizontal_flip),
        A.VerticalFlip(p=config.vertical_flip),
    ]


def _build_pipeline(config: AugmentationConfig, size: tuple[int, int]) -> A.Compose:
    """Window and stretch first, so that flips and colours are computed on the few pixels that remain."""
    jitter = config.colour_jitter
    colours = A.ColorJitter(
        brightness=(1 - jitter, 1 + jitter),
        contrast=(1 - jitter, 1 + jitter),
        saturation=(1 - jitter, 1 + jitter),
        hue=(-config.hue_jitter, config.hue_jitter),
        p=float(jitter > 0 or config.hue_jitter > 0),
    )
    return A.Compose([*_moves(config, size), colours], bbox_params=_BBOX_PARAMS)


def cut_out(image: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """The window of an image (H, W, 3), at its own size; what lies beyond the image is grey."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = window
    part = image[max(0, y1) : min(height, y2), max(0, x1) : min(width, x2)]
    margins = max(0, -y1), max(0, y2 - height), max(0, -x1), max(0, x2 - width)
    if not any(margins):
        return part
    grey = (MID_GREY,) * 3
    return np.asarray(cv2.copyMakeBorder(part, *margins, cv2.BORDER_CONSTANT, value=grey), np.uint8)


class RandomWindow(A.DualTransform):  # type: ignore[misc]  # albumentations carries no types
    """Stretches a random window of the image, which may reach beyond it, to a given size.

    Magnification and aspect ratio are drawn log-uniformly and relative to the image, so that the mean distortion is
    that of the plain stretch. Of the windows drawn, the first that keeps a box is taken, the whole image if none does.
    With the probabilities of the config, SSD's canvas and its crop by IoU, which may follow it, take its place.

    Args:
        config: bounds of the window.
        size: (height, width) of the result, in pixels.
    """

    _targets = (A.core.type_definitions.Targets.IMAGE, A.core.type_definitions.Targets.BBOXES)

    def __init__(self, config: AugmentationConfig, size: tuple[int, int]) -> None:
        super().__init__(p=1.0)
        self.config = config
        self.size = size

    @property
    def targets_as_params(self) -> list[str]:
        """The window depends on the boxes."""
        return ["bboxes"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draws the window, in pixels as x1, y1, x2, y2."""
        height, width = params["shape"][:2]
        config, rng, whole = self.config, self.random_generator, (0, 0, width, height)
        # A probability of 0 takes nothing from the generator: the samples of a config without SSD's windows stay.
        out = config.zoom_out > 0 and rng.random() < config.zoom_out
        frame = zoom_out((height, width), config.max_zoom_out, rng) if out else whole
        if config.iou_crop > 0 and rng.random() < config.iou_crop:
            objects = data["bboxes"][data["bboxes"][:, 5] == 0]
            return {"window": crop_by_iou(frame, objects[:, :4] * np.array([width, height, width, height]), rng)}
        if out:
            return {"window": frame}
        if self.py_random.random() < config.zoom:
            for _ in range(_ATTEMPTS):
                window = self._draw_window(height, width)
                if not len(data["bboxes"]) or not are_fragments(data["bboxes"], (height, width), window).all():
                    return {"window": window}
        return {"window": whole}

    def apply(self, img: NDArray[np.uint8], window: Window, **params: Any) -> NDArray[np.uint8]:
        """Cuts the window out of the image, see `cut_out`."""
        return stretch(cut_out(img, window), self.size)

    def apply_to_bboxes(self, bboxes: NDArray[np.float32], window: Window, **params: Any) -> NDArray[np.float32]:
        """Moves boxes into the window and marks fragments; parts beyond it are left to the pipeline to clip.

        Args:
            bboxes: (G, 6) normalised xyxy, position among the annotations, ignored.
            window: in pixels as x1, y1, x2, y2.
            params: `shape` of the image.
        """
        height, width = params["shape"][:2]
        x1, y1, x2, y2 = window
        moved = bboxes.copy()
        moved[:, [0, 2]] = (bboxes[:, [0, 2]] * width - x1) / (x2 - x1)
        moved[:, [1, 3]] = (bboxes[:, [1, 3]] * height - y1) / (y2 - y1)
        moved[are_fragments(bboxes, (height, width), window), 5] = 1
        return moved

    def _draw_window(self, height: int, width: int) -> Window:
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
