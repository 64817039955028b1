import itertools

import numpy as np
import pytest

from ofa_det.arch.levels import AnchorSizes
from ofa_det.detection.anchor_fitting import fit_anchors, level_squares
from ofa_det.detection.anchors import placed_recall

SIX_LEVELS = (20, 10, 5, 3, 2, 1)
"""Cells a side of SSDLite's levels at 320 px."""

FOUR_LEVELS = (40, 20, 10, 5)
"""Strides 8 to 64 at 320 px."""


def boxes_of(size: tuple[float, float], count: int, seed: int = 0, jitter: float = 0.0) -> np.ndarray:
    """Boxes of about one shape, anywhere in the image."""
    rng = np.random.default_rng(seed)
    sides = np.array(size) * rng.uniform(1 - jitter, 1 + jitter, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * (1 - sides)
    return np.concatenate((corners, corners + sides), axis=1).astype(np.float32)


def fit(*groups: np.ndarray, **options: object) -> AnchorSizes:
    """Anchors fitted to boxes of which each group is a class."""
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return fit_anchors(np.concatenate(groups), labels, **{"cells": SIX_LEVELS, **options})


def test_two_shapes_are_found_at_the_levels_of_their_size_and_other_levels_have_none() -> None:
    sizes = fit(boxes_of((0.12, 0.16), 200), boxes_of((0.6, 0.5), 100), num_anchors=2)
    assert sizes[0] == (pytest.approx((0.12, 0.16), rel=0.1),)
    # Of the third level's cells, 0.2, its shorter side spans two; of the fourth's, 0.333, it does not.
    assert sizes[2] == (pytest.approx((0.6, 0.5), rel=0.1),)
    assert [len(level) for level in sizes] == [1, 0, 1, 0, 0, 0]


def test_a_rare_class_is_not_outvoted() -> None:
    """Of cells in a blood smear one in ten is a platelet: small, and in centred clusters lost."""
    common = boxes_of((0.2, 0.25), 3000, jitter=0.2)
    rare = boxes_of((0.09, 0.09), 60, jitter=0.1)
    sizes = fit(common, rare, num_anchors=2)
    found = placed_recall(rare, np.zeros(len(rare), np.int64), num_classes=1, cells=SIX_LEVELS, anchor_sizes=sizes)
    assert found.all_boxes.fraction > 0.7


def test_no_shape_is_nearly_another_and_what_gains_little_is_left_out() -> None:
    alike = fit(boxes_of((0.2, 0.25), 500, jitter=0.03), num_anchors=9)
    assert sum(map(len, alike)) == 1
    various = [shape for level in fit(boxes_of((0.3, 0.3), 500, jitter=0.9), num_anchors=9) for shape in level]
    assert 2 <= len(various) <= 9
    for (width, height), (other_width, other_height) in itertools.combinations(various, 2):
        shared = min(width, other_width) * min(height, other_height)
        assert shared / (width * height + other_width * other_height - shared) <= 0.75 + 1e-3


def test_one_level_takes_every_shape() -> None:
    sizes = fit(boxes_of((0.12, 0.16), 100), boxes_of((0.5, 0.4), 100), cells=(8,), num_anchors=2)
    assert [len(level) for level in sizes] == [2]


@pytest.mark.parametrize(("num_anchors", "of_each"), [(4, 1), (5, 2), (8, 2), (12, 3), (1, 1)])
def test_levels_are_filled_evenly_with_shapes_of_their_size(num_anchors: int, of_each: int) -> None:
    sizes = fit(
        boxes_of((0.07, 0.08), 50, jitter=0.3),
        boxes_of((0.18, 0.2), 500, jitter=0.3),
        boxes_of((0.3, 0.35), 50, jitter=0.1),
        cells=FOUR_LEVELS,
        num_anchors=num_anchors,
        evenly=True,
    )
    assert [len(level) for level in sizes] == [of_each] * 4
    for cells, level in zip(FOUR_LEVELS, sizes, strict=True):
        areas = [width * height for width, height in level]
        assert areas == sorted(areas)
        if cells < 40:
            assert min(map(min, level)) * cells >= 2 - 1e-3


def test_a_level_without_objects_has_squares_where_it_must_have_anchors() -> None:
    sizes = fit(boxes_of((0.12, 0.12), 100), cells=FOUR_LEVELS, num_anchors=8, evenly=True)
    # Four cells of the level of five are 0.8, half an octave less is 0.566.
    assert sizes[3] == ((0.5657, 0.5657), (0.8, 0.8))


def test_squares_of_a_level_by_hand() -> None:
    assert level_squares(20) == ((0.2, 0.2),)
    assert level_squares(10, 2) == ((0.4, 0.4), (0.2828, 0.2828))
    # Four cells of 0.5 would not be in the image.
    assert level_squares(2, 3) == ((1.0, 1.0), (0.7937, 0.7937), (0.63, 0.63))


def test_a_fit_is_deterministic_in_its_seed() -> None:
    many = boxes_of((0.3, 0.3), 12_000, jitter=0.9)
    first, again = (fit(many, num_anchors=3, seed=3) for _ in range(2))
    assert first == again


def test_few_boxes_are_enough_but_not_none() -> None:
    assert sum(map(len, fit(boxes_of((0.5, 0.5), 1), num_anchors=9))) == 1
    empty = np.array([[0.2, 0.2, 0.2, 0.4]], np.float32)
    for boxes in (empty, empty[:0]):
        with pytest.raises(ValueError, match=r"expected boxes to fit anchors to, found none; .*anchors\.source to ssd"):
            fit(boxes)


def test_boxes_too_small_for_any_anchor_have_one_all_the_same() -> None:
    # 0.0005 of the input: no placed anchor overlaps them enough to be worth something, and none is below 0.001.
    assert fit(boxes_of((0.0005, 0.0005), 50)) == (((0.001, 0.001),), (), (), (), (), ())
    assert fit(boxes_of((0.0005, 0.0005), 50), cells=(10,), num_anchors=1) == (((0.001, 0.001),),)
