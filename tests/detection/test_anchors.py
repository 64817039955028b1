import itertools

import numpy as np
import pytest
import torch

from ofa_det.arch.levels import AnchorSizes, Recall, ssd_anchor_sizes
from ofa_det.detection.anchors import anchor_boxes, fit_anchors, level_squares, placed_iou, placed_recall
from ofa_det.detection.boxes import pairwise_iou, to_corners

SIX_LEVELS = (20, 10, 5, 3, 2, 1)
"""Cells a side of SSDLite's levels at 320 px."""

FOUR_LEVELS = (40, 20, 10, 5)
"""Strides 8 to 64 at 320 px."""


def test_anchors_by_hand() -> None:
    anchors = anchor_boxes(((1, 2), (1, 1)), (((0.1, 0.2),), ((0.5, 0.5), (0.9, 0.3))))
    expected = [[0.25, 0.5, 0.1, 0.2], [0.75, 0.5, 0.1, 0.2], [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.9, 0.3]]
    torch.testing.assert_close(anchors, torch.tensor(expected))


def test_stock_anchors_at_320_px() -> None:
    anchors = anchor_boxes(((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)), ssd_anchor_sizes())
    assert anchors.shape == (2034, 4)
    # The lowest level: half the smallest scale, then 2:1 and 1:2 of scale 0.2.
    torch.testing.assert_close(anchors[0], torch.tensor([0.025, 0.025, 0.1, 0.1]))
    torch.testing.assert_close(anchors[1, 2:], torch.tensor([0.2 * 2**0.5, 0.2 / 2**0.5]))


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


def test_placed_iou_by_hand() -> None:
    # Cells of 0.5 have their centres at 0.25 and 0.75; this box's is 0.05 and 0.15 from the nearest.
    box = np.array([[0.6, 0.0, 1.0, 0.2]])
    # 0.4 x 0.2 shares 0.35 x 0.05 with it; 0.6 x 0.6 covers it in x, and in y from 0 to 0.2: all of it.
    found = placed_iou(box, 2, np.array([[0.4, 0.2], [0.6, 0.6]]))
    assert found[0].tolist() == pytest.approx([0.0175 / (0.16 - 0.0175), 0.08 / 0.36])
    # Too far from the only centre to touch.
    assert placed_iou(np.array([[0.0, 0.0, 0.1, 0.1]]), 1, np.array([[0.1, 0.1]])).tolist() == [[0.0]]


@pytest.mark.parametrize("cells", [1, 3, 10])
def test_the_nearest_cell_is_the_best_of_all(cells: int) -> None:
    rng = np.random.default_rng(cells)
    corners = np.sort(rng.uniform(0, 1, (300, 2, 2)), axis=1)
    boxes = np.concatenate((corners[:, 0], corners[:, 1]), axis=1)
    sizes = rng.uniform(0.02, 1, (5, 2))
    for column, size in enumerate(sizes):
        anchors = to_corners(anchor_boxes(((cells, cells),), ((tuple(size),),)))
        best = pairwise_iou(anchors, torch.from_numpy(boxes).float()).amax(dim=0)
        torch.testing.assert_close(torch.from_numpy(placed_iou(boxes, cells, sizes)[:, column]), best)


def test_recall_by_class_and_level_by_hand() -> None:
    # Centres of the 2 x 2 level are at 0.25 and 0.75, that of the 1 x 1 level is at 0.5.
    boxes = np.array(
        [
            [0.1, 0.1, 0.4, 0.4],  # the fine anchor itself
            [0.25, 0.1, 0.55, 0.4],  # half of it beside the fine anchor: IoU 1/3
            [0.1, 0.1, 0.9, 0.9],  # the coarse anchor itself
        ]
    )
    labels = np.array([0, 2, 2])
    found = placed_recall(
        boxes, labels, num_classes=3, cells=(2, 1, 1), anchor_sizes=(((0.3, 0.3),), ((0.8, 0.8),), ())
    )
    assert found.classes == (
        Recall(boxes=1, recalled=1),
        Recall(boxes=0, recalled=0),
        Recall(boxes=2, recalled=1),
    )
    assert found.levels == (Recall(boxes=2, recalled=1), Recall(boxes=1, recalled=1), Recall(boxes=0, recalled=0))
    assert found.mean_iou == pytest.approx((1 + 1 / 3 + 1) / 3, abs=1e-5)
    none = placed_recall(np.zeros((0, 4)), labels[:0], num_classes=1, cells=(2,), anchor_sizes=(((0.3, 0.3),),))
    assert (none.classes, none.mean_iou) == ((Recall(boxes=0, recalled=0),), 0.0)


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
