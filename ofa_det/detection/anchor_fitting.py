"""Anchors fitted to the boxes of a data set."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.levels import AnchorSizes, LevelAnchors
from ofa_det.detection.anchors import placed_iou

CELLS_PER_SIDE = 2
"""Cells that the shorter side of an anchor spans at least, but on the finest level: neighbours do not share a cell."""

NEAR_DUPLICATE = 0.75
"""Centred IoU above which two shapes would answer for the same boxes."""

LEAST_GAIN = 0.005
"""What one more shape has to add to the weighted mean worth; less does not pay for its outputs in every cell."""

_WORTH = ((0.3, 0.6, 1.0), (0.0, 1.0, 1.25))
"""IoU of a box with its best anchor -> worth: what counts is to pass the matcher's threshold, then to overlap well."""

_PLACED_BOXES = 10_000
"""Boxes that a fit looks at, about: fewer are placed several times, of more are some drawn."""


def fit_anchors(
    boxes: NDArray[np.floating],
    labels: NDArray[np.int64],
    *,
    cells: Sequence[int],
    num_anchors: int = 9,
    evenly: bool = False,
    seed: int = 0,
) -> AnchorSizes:
    """The shapes that give most boxes a good anchor where it stands, on the levels that suit the shapes.

    Differs from the dimension clusters of YOLO9000, section 2: they suit centred boxes, and nearly all of them go to
    the commonest objects. Here a class, and within a class an octave of size, weighs as the square root of its boxes;
    the IoU is that with the anchor in the nearest cell, of boxes anywhere in the image, as augmentation moves them; no
    two shapes are near-duplicates; and a shape that gains little is left out. A shape stands on the coarsest level of
    which its shorter side spans two cells, the finest level takes what is smaller. Shapes are added greedily, then
    exchanged as long as that helps, on ever finer grids of shapes.

    Args:
        boxes: (N, 4) xyxy training boxes, normalised.
        labels: (N,) class indices.
        cells: side of each level's feature map, the finest first.
        num_anchors: the most shapes; rounded up to a multiple of the levels if they are to be filled evenly.
        evenly: gives every level as many, which a head that all levels share needs; where the boxes call for fewer,
            squares of the level's scale fill up.
        seed: of where the boxes are placed.

    Returns:
        By ascending area on each level; a level that no shape suits has none.

    Raises:
        ValueError: no boxes.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    if not (sides > 0).all(axis=1).any():
        raise ValueError(
            "expected boxes to fit anchors to, found none; annotate objects, or set --anchors.source to ssd or a file"
        )
    visible = (sides > 0).all(axis=1)
    boxes, weights = _placed_anew(sides[visible], labels[visible], np.random.default_rng(seed))
    per_level = -(-num_anchors // len(cells)) if evenly else num_anchors
    search = _Shapes(_grid(boxes, octave=4), boxes, weights, cells, per_level)
    most = per_level * len(cells) if evenly else num_anchors
    kept = search.exchanged(search.greedy(most, least_gain=1e-6 if evenly else LEAST_GAIN))
    for octave in (8, 16):
        # The shapes come first, so they are the new candidates 0, 1, ...
        search = _Shapes(_around(search.shapes[kept], octave), boxes, weights, cells, per_level)
        kept = search.exchanged(list(range(len(kept))))
    levels = [search.shapes[[i for i in kept if search.levels[i] == level]] for level in range(len(cells))]
    if evenly:
        levels = [_filled(shapes, side, per_level) for shapes, side in zip(levels, cells, strict=True)]
    return tuple(_ascending(shapes) for shapes in levels)


def level_squares(cells: int, count: int = 1) -> LevelAnchors:
    """Squares of four cells' side and, in equal steps, of up to an octave less (RetinaNet, section 4).

    Args:
        cells: side of the level's feature map.
        count: of the squares.
    """
    sides = [round(min(1.0, 4 / cells) * 2 ** (-step / count), 4) for step in range(count)]
    return tuple((side, side) for side in sides)


class _Shapes:
    """Candidates for anchors, and what sets of them are worth to the boxes.

    Args:
        shapes: (M, 2) width and height.
        boxes: (N, 4) xyxy.
        weights: (N,) that sum to 1.
        cells: side of each level's feature map.
        per_level: shapes that a level can have.

    Attributes:
        levels: (M,) the level that suits each shape.
    """

    def __init__(
        self,
        shapes: NDArray[np.float64],
        boxes: NDArray[np.floating],
        weights: NDArray[np.float64],
        cells: Sequence[int],
        per_level: int,
    ) -> None:
        self.shapes = shapes
        spans = shapes.min(axis=1)[:, None] * np.array(cells)
        self.levels = ((spans >= CELLS_PER_SIDE - 1e-6).sum(axis=1) - 1).clip(0)
        self._per_level = per_level
        self._weights = weights.astype(np.float32)
        self._worth = np.empty((len(boxes), len(shapes)), np.float32)
        for level in np.unique(self.levels):
            here = self.levels == level
            self._worth[:, here] = np.interp(placed_iou(boxes, cells[level], shapes[here]), *_WORTH)

    def greedy(self, most: int, *, least_gain: float) -> list[int]:
        """Adds the candidate that is worth most to those before, until the gain is small; the first whatever it is."""
        kept: list[int] = []
        worth = 0.0
        while len(kept) < most:
            with_each = self._worth_with(kept)
            best = int(with_each.argmax())
            if kept and with_each[best] < worth + least_gain:
                break
            kept.append(best)
            worth = float(with_each[best])
        return kept

    def exchanged(self, kept: list[int]) -> list[int]:
        """Exchanges one shape after the other for the best in its place."""
        kept = list(kept)
        for _ in range(5):
            before = list(kept)
            for place, current in enumerate(before):
                with_each = self._worth_with(kept[:place] + kept[place + 1 :])
                best = int(with_each.argmax())
                if with_each[best] > with_each[current] + 1e-6:
                    kept[place] = best
            if kept == before:
                break
        return kept

    def _worth_with(self, kept: list[int]) -> NDArray[np.float32]:
        """(M,) worth of the kept shapes and each candidate; -1 for one that may not join them."""
        best = self._worth[:, kept].max(axis=1, initial=0)
        worth = self._weights @ np.maximum(self._worth, best[:, None])
        like = _centred_iou(self.shapes, self.shapes[kept]).max(axis=1, initial=0) > NEAR_DUPLICATE
        full = np.bincount(self.levels[kept], minlength=self.levels.max() + 1)[self.levels] >= self._per_level
        return np.where(like | full, np.float32(-1), worth)


def _placed_anew(
    sides: NDArray[np.floating], labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes of the given sides at random places within the image, and their weights, which sum to 1."""
    weights = _weights(sides, labels)
    if len(sides) > _PLACED_BOXES:
        sides, weights = sides[rng.choice(len(sides), _PLACED_BOXES, p=weights)], np.ones(_PLACED_BOXES)
    else:
        copies = _PLACED_BOXES // len(sides)
        sides, weights = sides.repeat(copies, axis=0), weights.repeat(copies)
    corners = rng.uniform(size=sides.shape) * (1 - sides)
    return np.concatenate((corners, corners + sides), axis=1), weights / weights.sum()


def _weights(sides: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) that sum to 1: a class weighs as the square root of its boxes, and within it so does an octave of size."""
    octaves = np.floor(np.log2(sides.prod(axis=1)) / 2).astype(np.int64)
    groups, group_of, sizes = np.unique(np.stack((labels, octaves)), axis=1, return_inverse=True, return_counts=True)
    classes = groups[0]
    in_class, parts = np.bincount(classes, sizes), np.bincount(classes, np.sqrt(sizes))
    group_weights = np.sqrt(in_class[classes]) * np.sqrt(sizes) / parts[classes]
    weights = (group_weights / sizes)[group_of.reshape(-1)]
    return np.asarray(weights / weights.sum())


def _grid(boxes: NDArray[np.floating], octave: int) -> NDArray[np.float64]:
    """(M, 2) shapes over the range of the boxes, so many steps to an octave of width and of height."""
    exponents = np.log2((boxes[:, 2:] - boxes[:, :2]).astype(np.float64)) * octave
    ends = zip(np.floor(exponents.min(axis=0)), np.ceil(exponents.max(axis=0)), strict=True)
    widths, heights = (np.unique(_possible(2.0 ** (np.arange(low, high + 1) / octave))) for low, high in ends)
    return np.array(list(itertools.product(widths, heights)))


def _around(shapes: NDArray[np.float64], octave: int) -> NDArray[np.float64]:
    """(9 M, 2) the shapes, then those a step wider, higher, narrower or lower."""
    steps = 2.0 ** (np.array([0, -1, 1]) / octave)
    return np.concatenate([_possible(shapes * factors) for factors in itertools.product(steps, repeat=2)])


def _possible(sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Within the input, and not far below a pixel."""
    return sides.clip(0.001, 1)


def _filled(shapes: NDArray[np.float64], cells: int, count: int) -> NDArray[np.float64]:
    """So many shapes: the level's squares that are least like those there are come to them."""
    squares = np.array(level_squares(cells, count))
    likeness = _centred_iou(squares, shapes).max(axis=1, initial=0)
    return np.concatenate((shapes, squares[np.argsort(likeness, kind="stable")][: count - len(shapes)]))


def _ascending(shapes: NDArray[np.float64]) -> LevelAnchors:
    ordered = shapes[np.argsort(shapes.prod(axis=1), kind="stable")].round(4)
    return tuple((width, height) for width, height in ordered.tolist())


def _centred_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    intersection = np.minimum(first[:, None], second[None]).prod(axis=-1)
    return np.asarray(intersection / (first.prod(axis=1)[:, None] + second.prod(axis=1)[None] - intersection))
