import numpy as np
import pytest
import torch

from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.detection.anchors import anchor_boxes, fit_anchors

SIX_LEVELS = tuple(1 / cells for cells in (20, 10, 5, 3, 2, 1))
"""Cell sides of SSDLite's levels at 320 px."""


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


def two_shapes() -> np.ndarray:
    rng = np.random.default_rng(0)
    small = np.array([[0.04, 0.05]]) * rng.uniform(0.95, 1.05, (200, 1))
    large = np.array([[0.5, 0.4]]) * rng.uniform(0.95, 1.05, (100, 1))
    return np.concatenate((small, large)).astype(np.float32)


def test_fitted_anchors_recover_two_shapes_at_the_levels_of_their_size() -> None:
    fit = fit_anchors(two_shapes(), cell_sizes=SIX_LEVELS, num_anchors=2)
    assert fit.anchor_sizes[0] == (pytest.approx((0.04, 0.05), rel=0.05),)
    # 0.4 / 2 is the side of the third level's cells.
    assert fit.anchor_sizes[2] == (pytest.approx((0.5, 0.4), rel=0.05),)
    assert fit.recall == 1.0
    assert fit.mean_iou > 0.95 > fit.stock_mean_iou


def test_a_level_without_a_shape_keeps_a_square_of_its_ssd_scale() -> None:
    fit = fit_anchors(two_shapes(), cell_sizes=SIX_LEVELS, num_anchors=2)
    stock = ssd_anchor_sizes()
    assert [fit.anchor_sizes[level] for level in (1, 3, 4, 5)] == [
        (pytest.approx(stock[level][0], abs=1e-4),) for level in (1, 3, 4, 5)
    ]


def test_one_level_takes_every_shape() -> None:
    fit = fit_anchors(two_shapes(), cell_sizes=(1 / 8,), num_anchors=2)
    assert [len(level) for level in fit.anchor_sizes] == [2]


@pytest.mark.parametrize(("num_anchors", "of_each"), [(4, 2), (3, 2), (5, 3), (2, 1)])
def test_levels_are_filled_evenly_by_ascending_area_whatever_their_cells(num_anchors: int, of_each: int) -> None:
    # Six shapes, all of which the fine level would get by its cells.
    shapes = np.array([[0.05, 0.05], [0.06, 0.1], [0.1, 0.1], [0.1, 0.2], [0.2, 0.2], [0.2, 0.3]], np.float32)
    fit = fit_anchors(shapes.repeat(20, axis=0), cell_sizes=(0.25, 0.5), num_anchors=num_anchors, evenly=True)
    areas = [width * height for level in fit.anchor_sizes for width, height in level]
    assert [len(level) for level in fit.anchor_sizes] == [of_each, of_each]
    assert areas == sorted(areas)


def test_as_many_boxes_as_rounded_up_anchors_are_needed() -> None:
    boxes = np.array([[0.1, 0.1], [0.2, 0.2], [0.4, 0.4]], np.float32)
    with pytest.raises(ValueError, match="at least 4 boxes"):
        fit_anchors(boxes, cell_sizes=(0.1, 0.2), num_anchors=3, evenly=True)


def test_fit_is_deterministic_in_its_seed() -> None:
    sizes = np.random.default_rng(1).uniform(0.05, 0.9, (300, 2)).astype(np.float32)
    first, again = (fit_anchors(sizes, cell_sizes=SIX_LEVELS, seed=3) for _ in range(2))
    assert first == again


def test_equal_boxes_and_too_few_boxes() -> None:
    equal = np.full((20, 2), 0.3, np.float32)
    assert fit_anchors(equal, cell_sizes=SIX_LEVELS, num_anchors=3).mean_iou == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(ValueError, match="expected at least 9 boxes to fit anchors to, found 4; fit fewer"):
        fit_anchors(equal[:4], cell_sizes=SIX_LEVELS)
