import numpy as np
import pytest
import torch

from ofa_det.arch.detector import NUM_LEVELS, ssd_anchor_sizes
from ofa_det.detection.anchors import anchor_boxes, fit_anchors


def test_anchors_by_hand():
    anchors = anchor_boxes(((1, 2), (1, 1)), (((0.1, 0.2),), ((0.5, 0.5), (0.9, 0.3))))
    expected = [[0.25, 0.5, 0.1, 0.2], [0.75, 0.5, 0.1, 0.2], [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.9, 0.3]]
    torch.testing.assert_close(anchors, torch.tensor(expected))


def test_stock_anchors_at_320_px():
    anchors = anchor_boxes(((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)), ssd_anchor_sizes())
    assert anchors.shape == (2034, 4)
    # The lowest level: half the smallest scale, then 2:1 and 1:2 of scale 0.2.
    torch.testing.assert_close(anchors[0], torch.tensor([0.025, 0.025, 0.1, 0.1]))
    torch.testing.assert_close(anchors[1, 2:], torch.tensor([0.2 * 2**0.5, 0.2 / 2**0.5]))


def test_fitted_anchors_recover_two_shapes_at_the_levels_of_their_size():
    rng = np.random.default_rng(0)
    small = np.array([[0.04, 0.05]]) * rng.uniform(0.95, 1.05, (200, 1))
    large = np.array([[0.5, 0.4]]) * rng.uniform(0.95, 1.05, (100, 1))
    fit = fit_anchors(np.concatenate((small, large)).astype(np.float32), num_anchors=2)
    assert len(fit.anchor_sizes) == NUM_LEVELS
    assert fit.anchor_sizes[0] == (pytest.approx((0.04, 0.05), rel=0.05),)
    # 0.4 / 2 is the side of the third level's cells.
    assert fit.anchor_sizes[2] == (pytest.approx((0.5, 0.4), rel=0.05),)
    assert all(fit.anchor_sizes)
    assert fit.recall == 1.0
    assert fit.mean_iou > 0.95 > fit.default_mean_iou


def test_fit_is_deterministic_in_its_seed():
    sizes = np.random.default_rng(1).uniform(0.05, 0.9, (300, 2)).astype(np.float32)
    assert fit_anchors(sizes, seed=3) == fit_anchors(sizes, seed=3)


def test_equal_boxes_and_too_few_boxes():
    equal = np.full((20, 2), 0.3, np.float32)
    assert fit_anchors(equal, num_anchors=3).mean_iou == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(ValueError, match="at least 9 boxes"):
        fit_anchors(equal[:4])
