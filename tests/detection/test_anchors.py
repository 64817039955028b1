import numpy as np
import pytest
import torch

from ofa_det.arch.levels import Recall, ssd_anchor_sizes
from ofa_det.detection.anchors import anchor_boxes, placed_iou, placed_recall
from ofa_det.detection.boxes import pairwise_iou, to_corners


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
