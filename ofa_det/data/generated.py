"""A small generated data set in COCO layout: textured shapes on textured backgrounds.

Made to be learnt in minutes on a CPU, yet with what real data has: category ids with gaps, a range of sizes and
rotations, mild occlusion, crowd boxes, images without boxes.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import write_atomically, write_json

logger = logging.getLogger(__name__)

CATEGORIES = (
    Category(id=2, name="circle"),
    Category(id=5, name="square"),
    Category(id=11, name="triangle"),
    Category(id=24, name="star"),
)

_HUES = (10.0, 220.0, 120.0, 50.0)
"""Typical hue of each category, in degrees: like most real classes, these are told apart by more than their outline."""

_HUE_SPREAD = 18.0  # standard deviation
_MAX_OBJECTS = 5
_OBJECT_SIDES = (0.14, 0.55)  # of the image's shorter side
_MIN_VISIBLE = 0.75  # share of an object that later ones leave visible
_CROWD_EVERY = 25  # one image in so many has a crowd
_CROWD_MEMBERS = 9
_EMPTY_EVERY = 60  # one image in so many has no boxes
_RESERVED = 10**6  # owner of pixels that belong to a crowd
_SUBPIXEL_BITS = 4
_SHADOW_REACH_PX = 12

Shape = tuple[NDArray[np.bool_], NDArray[np.int64]]
"""(H, W) mask of a whole object, and its visible box as x1, y1, x2, y2 in pixels."""


def generate_dataset(
    root: str | os.PathLike[str],
    *,
    num_train: int,
    num_val: int,
    image_size: tuple[int, int] = (240, 320),
    seed: int = 0,
) -> Path:
    """Writes the data set; the annotation files come last, so a folder that has both is whole.

    Args:
        root: folder of the data set, made if missing. A data set generated there before is overwritten.
        num_train: training images.
        num_val: validation images.
        image_size: (height, width) of the images, in pixels.
        seed: of everything drawn; not negative.

    Returns:
        `root`, ready for `DataConfig(root=...)`.

    Raises:
        ValueError: no images, or images too small for the shapes.
    """
    if num_train < 1 or num_val < 1:
        raise ValueError(f"expected num_train >= 1 and num_val >= 1, found {num_train} and {num_val}")
    if min(image_size) < 96:
        raise ValueError(f"expected images of at least 96 x 96 px, found {image_size[0]} x {image_size[1]}")
    root = Path(root)
    contents = {}
    for split, (name, count) in enumerate((("train2017", num_train), ("val2017", num_val))):
        contents[name] = _write_split(root / name, count, image_size, seed, split)
    for name, content in contents.items():
        write_json(root / "annotations" / f"instances_{name}.json", content)
    logger.info("generated %d training and %d validation images in %s", num_train, num_val, root)
    return root


def _write_split(folder: Path, count: int, image_size: tuple[int, int], seed: int, split: int) -> dict[str, Any]:
    height, width = image_size
    images = []
    annotations: list[dict[str, Any]] = []
    for position in range(count):
        image_id = position + 1
        name = f"{image_id:06d}.jpg"
        rng = np.random.default_rng((seed, split, position))
        if position % _EMPTY_EVERY == _EMPTY_EVERY - 1:
            picture = _finish(rng, _background(rng, image_size))
            objects: list[dict[str, Any]] = []
        else:
            picture, objects = _draw_image(rng, image_size, crowd=position % _CROWD_EVERY == _CROWD_EVERY - 1)
        encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        write_atomically(folder / name, encoded.tobytes(), durable=False)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        annotations += [{"id": len(annotations) + k + 1, "image_id": image_id, **o} for k, o in enumerate(objects)]
    categories = [{"id": category.id, "name": category.name} for category in CATEGORIES]
    return {"images": images, "annotations": annotations, "categories": categories}


def _draw_image(
    rng: np.random.Generator, size: tuple[int, int], *, crowd: bool
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """One image (H, W, 3) and its annotations, less their ids."""
    canvas = _background(rng, size)
    annotations: list[dict[str, Any]] = []
    owner = np.full(size, -1)  # which object shows at each pixel
    placed: list[tuple[int, int]] = []  # label and full area of each object
    if crowd:
        annotations.append(_draw_crowd(rng, canvas, owner))
    for _ in range(rng.integers(1, _MAX_OBJECTS + 1)):
        for _attempt in range(20):
            label = int(rng.integers(len(CATEGORIES)))
            mask = _random_mask(rng, label, size)
            if _may_cover(mask, owner, placed):
                _paint(rng, canvas, mask, label)
                owner[mask] = len(placed)
                placed.append((label, int(mask.sum())))
                break
    for number, (label, _) in enumerate(placed):
        annotations.append(_annotation(owner == number, label, crowd=False))
    return _finish(rng, canvas), annotations


def _draw_crowd(rng: np.random.Generator, canvas: NDArray[np.float32], owner: NDArray[np.int64]) -> dict[str, Any]:
    """Paints a heap of small objects of one class and reserves its place; they share one crowd annotation."""
    height, width = owner.shape
    label = int(rng.integers(len(CATEGORIES)))
    side = 0.12 * min(height, width)
    reach = 1.6 * side
    cx, cy = rng.uniform(2 * reach, width - 2 * reach), rng.uniform(2 * reach, height - 2 * reach)
    heap = np.zeros(owner.shape, np.bool_)
    for _ in range(_CROWD_MEMBERS):
        centre = cx + rng.uniform(-reach, reach), cy + rng.uniform(-reach, reach)
        mask = _mask(_OUTLINES[label](side / 2, rng), centre, owner.shape)
        _paint(rng, canvas, mask, label)
        heap |= mask
    owner[heap] = _RESERVED
    return _annotation(heap, label, crowd=True)


def _may_cover(mask: NDArray[np.bool_], owner: NDArray[np.int64], placed: list[tuple[int, int]]) -> bool:
    """Whether every object that the mask would cover keeps enough visible, and crowds are left alone."""
    under = owner[mask]
    if (under == _RESERVED).any():
        return False
    for number in np.unique(under[under >= 0]):
        remains = int((owner == number).sum()) - int((under == number).sum())
        if remains < _MIN_VISIBLE * placed[number][1]:
            return False
    return True


def _annotation(visible: NDArray[np.bool_], label: int, *, crowd: bool) -> dict[str, Any]:
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "category_id": CATEGORIES[label].id,
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "area": int(visible.sum()),
        "iscrowd": int(crowd),
    }


def _circle(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    squash = rng.uniform(0.85, 1.0)
    return _polygon([radius] * 48, rng.uniform(0, math.tau)) * (1, squash)


def _square(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return _polygon([radius] * 4, math.pi / 4 + rng.uniform(-0.35, 0.35)) * (1, rng.uniform(0.85, 1.0))


def _triangle(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return _polygon([radius] * 3, -math.pi / 2 + rng.uniform(-0.35, 0.35))


def _star(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return _polygon([radius, 0.45 * radius] * 5, rng.uniform(0, math.tau))


_OUTLINES: tuple[Callable[[float, np.random.Generator], NDArray[np.float64]], ...] = (
    _circle,
    _square,
    _triangle,
    _star,
)
"""Outline of each category around the origin."""


def _polygon(radii: list[float], start: float) -> NDArray[np.float64]:
    """(len(radii), 2) corners at equal angles."""
    angles = start + np.arange(len(radii)) * math.tau / len(radii)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(directions * np.array(radii)[:, None], np.float64)


def _random_mask(rng: np.random.Generator, label: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """An object of log-uniform size that lies wholly in the image."""
    shorter = min(size)
    side = shorter * math.exp(rng.uniform(*np.log(_OBJECT_SIDES)))
    outline = _OUTLINES[label](side / 2, rng)
    low, high = 2 - outline.min(axis=0), np.array(size[::-1]) - 3 - outline.max(axis=0)
    return _mask(outline, tuple(rng.uniform(low, high)), size)


def _mask(outline: NDArray[np.float64], centre: tuple[float, ...], size: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(size, np.uint8)
    points = np.round((outline + centre) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [points], 1, shift=_SUBPIXEL_BITS)
    return mask.astype(np.bool_)


def _paint(rng: np.random.Generator, canvas: NDArray[np.float32], mask: NDArray[np.bool_], label: int) -> None:
    """Fills the mask with a shaded texture, a darker rim and a soft shadow, with smooth edges."""
    # Only the surroundings that the shadow reaches are computed, which halves the time.
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    around = (
        slice(max(0, rows[0] - _SHADOW_REACH_PX), rows[-1] + _SHADOW_REACH_PX),
        slice(max(0, columns[0] - _SHADOW_REACH_PX), columns[-1] + _SHADOW_REACH_PX),
    )
    canvas, mask = canvas[around], mask[around]
    shadow = cv2.GaussianBlur(np.roll(mask, (3, 3), axis=(0, 1)).astype(np.float32), (0, 0), 2.5)
    canvas *= 1 - 0.35 * shadow[..., None]
    colour = _colour(rng, rng.normal(_HUES[label], _HUE_SPREAD), value=(0.45, 1.0), saturation=(0.55, 1.0))
    fill = _texture(rng, mask.shape, colour, contrast=0.12)
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    fill *= np.where(depth < 2.5, 0.6, 1.0).astype(np.float32)[..., None]
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0.7)[..., None]
    canvas *= 1 - alpha
    canvas += alpha * fill


def _background(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    return _texture(
        rng, size, _colour(rng, rng.uniform(0, 360), value=(0.35, 0.75), saturation=(0.05, 0.35)), contrast=0.18
    )


def _texture(
    rng: np.random.Generator, size: tuple[int, ...], colour: NDArray[np.float32], contrast: float
) -> NDArray[np.float32]:
    """(H, W, 3) of a colour with smooth noise, and stripes, checks or nothing on top."""
    height, width = size
    cells = int(rng.integers(3, 9))
    noise = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    pattern = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 18)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kind = rng.integers(3)
    if kind == 1:
        pattern += np.sin(along * math.tau / period)
    elif kind == 2:
        pattern += np.sin(along * math.tau / period) * np.sin(across * math.tau / period)
    return np.asarray(colour * (1 + contrast * pattern[..., None]), np.float32)


def _colour(
    rng: np.random.Generator, hue: float, *, value: tuple[float, float], saturation: tuple[float, float]
) -> NDArray[np.float32]:
    """An RGB colour in [0, 1] of a given hue, in degrees, and random brightness and saturation."""
    hsv = np.array([[[hue % 360, rng.uniform(*saturation), rng.uniform(*value)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def _finish(rng: np.random.Generator, canvas: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Adds sensor noise and rounds to bytes."""
    canvas += 0.015 * rng.standard_normal(canvas.shape, np.float32)
    return np.asarray((canvas * 255).round().clip(0, 255), np.uint8)
