"""Windows: the part of an image, or of a grey canvas around it, that becomes the network's input.

A window is x1, y1, x2, y2 in whole pixels of the image as read, and may reach beyond it. It is stretched once, from
those pixels, so that a window smaller than the image really magnifies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Window = tuple[int, int, int, int]
"""x1, y1, x2, y2, in pixels."""

MIN_VISIBILITY = 0.3
"""Share of an object's area that has to stay in the window (SSD, section 2.2 keeps boxes by their centre instead)."""

MIN_CROP_SHARE = 0.3
"""Smallest side of a crop by IoU, as a share of its frame's: SSD's reference code; section 2.2 says 0.1."""

_MAX_CROP_ASPECT = 2.0  # SSD, section 2.2: between 1/2 and 2; relative to the frame's, as in its reference code.
_MIN_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # SSD, section 2.2; 0 is its "randomly sample a patch".
_CANDIDATES = 50  # Of each minimum, as in SSD's reference code.


def are_fragments(bboxes: NDArray[np.float32], image_size: tuple[int, int], window: Window) -> NDArray[np.bool_]:
    """(G,) whether less than `MIN_VISIBILITY` of a box's area lies in the window.

    Args:
        bboxes: (G, 4 or more) normalised xyxy.
        image_size: (height, width), in pixels.
        window: in the same pixels.
    """
    height, width = image_size
    boxes_px = bboxes[:, :4] * np.array([width, height, width, height])
    visibility = _intersections(boxes_px, np.array(window)) / _areas(boxes_px)
    return np.asarray(visibility.astype(np.float32) < MIN_VISIBILITY)


def zoom_out(image_size: tuple[int, int], max_zoom_out: float, rng: np.random.Generator) -> Window:
    """A canvas of 1 to `max_zoom_out` times the image's sides, with the image anywhere on it (SSD, section 3.6).

    Args:
        image_size: (height, width), in pixels.
        max_zoom_out: largest factor of the sides; at least 1.
        rng: of the choice.
    """
    height, width = image_size
    factor = rng.uniform(1, max_zoom_out)
    (x1, x2), (y1, y2) = (_span(length, factor, rng.random()) for length in (width, height))
    return x1, y1, x2, y2


def crop_by_iou(frame: Window, objects_px: NDArray[np.float64], rng: np.random.Generator) -> Window:
    """The frame, or a crop of it that has a minimum IoU with an object (SSD, section 2.2).

    The minimum is one of none (which takes the whole frame), 0, 0.1, 0.3, 0.5, 0.7 and 0.9, each as likely as the other
    among those for which one of 50 crops serves. The crop has 0.3 to 1 of the frame's sides, at an aspect ratio of 1/2
    to 2 times the frame's. Differs from the paper: an object that the crop keeps has `MIN_VISIBILITY` of its area in
    it.

    Args:
        frame: what to crop: the image, or a canvas around it.
        objects_px: (G, 4) xyxy, in the frame's pixels, each of them above 0 in width and height; without any, every
            crop serves.
        rng: of every choice.
    """
    for choice in rng.permutation(len(_MIN_IOUS) + 1).tolist():
        if choice == len(_MIN_IOUS):
            break
        crops = _crops(frame, rng)
        serving = np.flatnonzero(_keep_an_object(crops, objects_px, _MIN_IOUS[choice]))
        if len(serving):
            x1, y1, x2, y2 = crops[serving[0]].tolist()
            return x1, y1, x2, y2
    return frame


def _crops(frame: Window, rng: np.random.Generator) -> NDArray[np.int64]:
    """(up to `_CANDIDATES`, 4) windows in the frame."""
    low, sides = np.array(frame[:2]), np.array(frame[2:]) - frame[:2]
    shares = rng.uniform(MIN_CROP_SHARE, 1, (_CANDIDATES, 2))
    places = rng.random((_CANDIDATES, 2))
    aspects = shares[:, 0] / shares[:, 1]
    proper = (aspects >= 1 / _MAX_CROP_ASPECT) & (aspects <= _MAX_CROP_ASPECT)
    extents = np.maximum(1, np.rint(shares[proper] * sides))
    starts = low + np.rint(places[proper] * (sides - extents))
    return np.concatenate([starts, starts + extents], axis=1).astype(np.int64)


def _keep_an_object(crops: NDArray[np.int64], objects_px: NDArray[np.float64], min_iou: float) -> NDArray[np.bool_]:
    """(T,) which of (T, 4) crops keep one of (G, 4) objects, and have the IoU with one."""
    if not len(objects_px):
        return np.ones(len(crops), np.bool_)
    shared = _intersections(objects_px, crops[:, None])
    areas = _areas(objects_px)
    ious = shared / (areas + _areas(crops)[:, None] - shared)
    return np.asarray((shared >= MIN_VISIBILITY * areas).any(axis=1) & (ious.max(axis=1) >= min_iou))


def _span(length: int, factor: float, place: float) -> tuple[int, int]:
    """Where a canvas `factor` times as long as the image begins and ends; the image lies at a share of the rest."""
    extent = round(length * factor)
    start = -round(place * (extent - length))
    return start, start + extent


def _intersections(boxes: NDArray[np.float64], windows: NDArray[np.int64]) -> NDArray[np.float64]:
    low, high = np.maximum(boxes[..., :2], windows[..., :2]), np.minimum(boxes[..., 2:], windows[..., 2:])
    return np.asarray((high - low).clip(0).prod(axis=-1))


def _areas(boxes: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray((boxes[..., 2:] - boxes[..., :2]).prod(axis=-1))
