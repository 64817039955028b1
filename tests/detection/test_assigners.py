import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert

from ofa_det.detection.anchors import anchor_boxes
from ofa_det.detection.assigners import AtssAssigner, IouAssigner, TaskAlignedAssigner
from ofa_det.detection.assignment import Assigner, AssignerConfig, make_assigner
from ofa_det.detection.box_coder import encode
from ofa_det.detection.boxes import pairwise_iou
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.targets import BACKGROUND, IGNORED, AnchorGrid, Objects, Targets

NONE = torch.zeros(0, 4)
BY_IOU = IouAssigner(positive_iou=0.5, ignored_iou=0.4, best_anchors=1, scores="iou", ignored_coverage=0.5)
TASK_ALIGNED = TaskAlignedAssigner(candidates=10, score_power=0.5, iou_power=6.0, ignored_coverage=0.5)


def atss(candidates: int) -> AtssAssigner:
    return AtssAssigner(candidates=candidates, scores="iou", ignored_coverage=0.5)


def to_centres(corners: Tensor) -> Tensor:
    return box_convert(corners, "xyxy", "cxcywh")


def one_level(anchors: Tensor, cells: int = 1) -> AnchorGrid:
    """Anchors (A, 4) as one level of cells x cells."""
    return AnchorGrid(boxes=anchors, feature_sizes=((cells, cells),), per_cell=(len(anchors) // cells**2,))


def assign(
    assigner: Assigner,
    grid: AnchorGrid,
    boxes: list[list[float]],
    *,
    labels: list[int] | None = None,
    ignored: Tensor = NONE,
    codes: Tensor | None = None,
    logits: Tensor | None = None,
) -> Targets:
    """Targets of one image; by default every anchor predicts itself and all classes with 1/2."""
    count = len(grid.boxes)
    return assigner(
        grid,
        Objects(
            boxes=(torch.tensor(boxes).reshape(-1, 4),),
            labels=(torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),),
            ignored=(ignored,),
        ),
        DetectorOutput(
            torch.zeros(1, count, 4) if codes is None else codes[None],
            torch.zeros(1, count, 3) if logits is None else logits[None],
        ),
    )


def test_cells_and_counts_of_a_grid() -> None:
    grid = AnchorGrid(boxes=torch.zeros(2 * 4 + 3, 4), feature_sizes=((2, 2), (1, 1)), per_cell=(2, 3))
    assert grid.counts == (8, 3)
    assert grid.cells.tolist() == [[0.5, 0.5]] * 8 + [[1.0, 1.0]] * 3


def test_by_iou_positive_ignored_and_background() -> None:
    # IoU with the object: 0.6, 0.45, 0.1.
    assert BY_IOU.owners(torch.tensor([[0.6], [0.45], [0.1]])).tolist() == [0, IGNORED, BACKGROUND]


def test_every_object_gets_its_best_anchor_however_weak() -> None:
    assert BY_IOU.owners(torch.tensor([[0.04, 0.0], [0.0, 0.01]])).tolist() == [0, 1]


def test_two_objects_that_want_one_anchor() -> None:
    assert BY_IOU.owners(torch.tensor([[0.04, 0.36]])).tolist() == [1]


def test_an_object_claims_as_many_anchors_as_asked_for() -> None:
    iou = torch.tensor([[0.1], [0.3], [0.2], [0.0]])
    assert BY_IOU.owners(iou).tolist() == [BACKGROUND, 0, BACKGROUND, BACKGROUND]
    assert replace(BY_IOU, best_anchors=2).owners(iou).tolist() == [BACKGROUND, 0, 0, BACKGROUND]


@pytest.mark.parametrize("kind", ["iou", "atss", "task_aligned"])
def test_anchors_inside_an_ignored_region_are_not_background(kind: Any) -> None:
    # Inside, by half, by less than half, outside.
    corners = [[0.6, 0.6, 0.9, 0.9], [0.4, 0.6, 0.6, 0.8], [0.3, 0.6, 0.6, 0.8], [0.0, 0.0, 0.2, 0.2]]
    grid, region = one_level(to_centres(torch.tensor(corners))), torch.tensor([[0.5, 0.5, 1.0, 1.0]])
    alone = assign(make_assigner(AssignerConfig(kind=kind)), grid, [], ignored=region)
    assert alone.owners.tolist() == [[IGNORED, IGNORED, BACKGROUND, BACKGROUND]]
    assert alone.normaliser == 1
    # An object in the region has its anchor all the same.
    single = make_assigner(AssignerConfig(kind=kind, candidates=1, best_anchors=1))
    assert assign(single, grid, [[0.6, 0.6, 0.9, 0.9]], ignored=region).owners[0, 0] == 0


def test_a_batch_lines_up_targets_with_positive_anchors() -> None:
    grid = one_level(to_centres(torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])))
    boxes = (torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]), torch.zeros(0, 4))
    labels = (torch.tensor([2, 1]), torch.zeros(0, dtype=torch.int64))
    output = DetectorOutput(torch.zeros(2, 2, 4), torch.zeros(2, 2, 3))
    targets = BY_IOU(grid, Objects(boxes=boxes, labels=labels, ignored=(NONE, NONE)), output)
    assert targets.positive.tolist() == [[True, True], [False, False]]
    assert targets.classes.tolist() == [1, 2]
    torch.testing.assert_close(targets.boxes, boxes[0][[1, 0]])
    torch.testing.assert_close(targets.anchors, grid.boxes)
    assert (targets.scores.tolist(), targets.weights.tolist()) == ([1.0, 1.0], [1.0, 1.0])
    assert targets.normaliser == 2


def test_by_iou_scores_are_one_or_the_iou_of_the_predicted_box() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    box, half = [0.3, 0.3, 0.7, 0.7], torch.tensor([[0.3, 0.3, 0.5, 0.7]])
    codes = encode(half, anchors)
    by_kind = {
        scores: assign(replace(BY_IOU, scores=scores), one_level(anchors), [box], codes=codes).scores.item()
        for scores in ("one", "iou")
    }
    assert by_kind == {"one": 1.0, "iou": pytest.approx(0.5)}


def row_of_cells(*cells: int, per_cell: int = 1) -> AnchorGrid:
    """Levels of one row each; where their anchors are does not matter."""
    count = sum(cells) * per_cell
    return AnchorGrid(
        boxes=torch.zeros(count, 4), feature_sizes=tuple((1, n) for n in cells), per_cell=(per_cell,) * len(cells)
    )


def test_atss_by_hand() -> None:
    """One object, two levels of three anchors, two candidates on each.

    The candidates overlap it by 0.6, 0.2 and 0.5, 0.3: mean 0.4, deviation sqrt((4 + 4 + 1 + 1) / 300) = 0.183.
    Above 0.583 is one alone; the third anchor of a level, which overlaps it by 0.9, is too far away to be one.
    """
    iou = torch.tensor([[0.6], [0.2], [0.9], [0.5], [0.3], [0.0]])
    distance = torch.tensor([[0.1], [0.2], [0.5], [0.1], [0.2], [0.5]])
    inside = torch.ones(6, 1, dtype=torch.bool)
    grid = row_of_cells(3, 3)
    owners = atss(2).owners(grid, iou=iou, distance=distance, inside=inside)
    assert owners.tolist() == [0, *[BACKGROUND] * 5]
    inside[0] = False
    assert atss(2).owners(grid, iou=iou, distance=distance, inside=inside).tolist() == [BACKGROUND] * 6


@pytest.mark.parametrize("best", [0, 1, 2])
def test_candidates_of_atss_are_cells_with_all_their_shapes_by_hand(best: int) -> None:
    """Two cells of three shapes; the one candidate is the first cell.

    Its anchors overlap the object by 0.6, 0.2, 0.1, in some order: mean 0.3, deviation sqrt((9 + 1 + 4) / 200) = 0.265.
    Above 0.565 is the best alone, and not the 0.9 of the other cell.
    """
    iou = torch.tensor([0.6, 0.2, 0.1]).roll(best)
    grid, inside = row_of_cells(2, per_cell=3), torch.ones(6, 1, dtype=torch.bool)
    owners = atss(1).owners(
        grid,
        iou=torch.cat((iou, torch.full((3,), 0.9)))[:, None],
        distance=torch.tensor([0.1, 0.2]).repeat_interleave(3)[:, None],
        inside=inside,
    )
    assert (owners == 0).nonzero().flatten().tolist() == [best]


@pytest.mark.parametrize("kind", ["iou", "atss", "task_aligned"])
def test_the_order_of_the_shapes_of_a_level_changes_nothing(kind: Any) -> None:
    torch.manual_seed(0)
    feature_sizes, shapes = ((8, 8), (4, 4)), (((0.1, 0.2), (0.2, 0.1), (0.3, 0.3)), ((0.4, 0.5), (0.6, 0.4)))
    corners = torch.rand(6, 2) * 0.6
    boxes = torch.cat((corners, corners + 0.1 + 0.3 * torch.rand(6, 2)), dim=1).tolist()

    def found(order: int) -> dict[tuple[float, ...], tuple[int, float]]:
        """Owner and score of each positive anchor."""
        grid = AnchorGrid(
            boxes=anchor_boxes(feature_sizes, [sizes[::order] for sizes in shapes]),
            feature_sizes=feature_sizes,
            per_cell=(3, 2),
        )
        assigner = make_assigner(AssignerConfig(kind=kind, candidates=5, positive_iou=0.5, ignored_iou=0.4))
        targets = assign(assigner, grid, boxes)
        owners = targets.owners[targets.positive].tolist()
        anchors = [tuple(anchor) for anchor in targets.anchors.tolist()]
        return dict(zip(anchors, zip(owners, targets.scores.tolist(), strict=True), strict=True))

    assert found(1) == found(-1)
    assert len(found(1)) > 6


def test_atss_gives_a_contested_anchor_to_the_greater_overlap() -> None:
    iou, near = torch.tensor([[0.5, 0.6], *[[0.0, 0.0]] * 3]), torch.zeros(4, 2)
    inside = torch.ones(4, 2, dtype=torch.bool)
    owners = atss(4).owners(row_of_cells(4), iou=iou, distance=near, inside=inside)
    assert owners.tolist() == [1, *[BACKGROUND] * 3]


def four_cells() -> AnchorGrid:
    """2 x 2 cells with one anchor of half the image each."""
    centres = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    return one_level(torch.tensor([[x, y, 0.5, 0.5] for x, y in centres]), cells=2)


def test_task_aligned_by_hand() -> None:
    """An object over the upper half; the anchors of both upper cells overlap it by 1/2.

    Scores of its class are 1/2 and 1/4, so the fits are as sqrt(1/2) to sqrt(1/4); the better one learns its IoU, 1/2,
    the other 1/2 sqrt(1/2).
    """
    logits = torch.full((4, 3), -20.0)
    logits[0, 1], logits[1, 1] = 0.0, math.log((1 / 4) / (3 / 4))
    targets = assign(TASK_ALIGNED, four_cells(), [[0.0, 0.0, 1.0, 0.5]], labels=[1], logits=logits)
    assert targets.owners.tolist() == [[0, 0, BACKGROUND, BACKGROUND]]
    assert targets.classes.tolist() == [1, 1]
    assert targets.scores.tolist() == [pytest.approx(0.5), pytest.approx(0.5 * math.sqrt(0.5))]
    assert targets.weights.tolist() == targets.scores.tolist()
    assert targets.normaliser == 1  # of a sum of 0.85


def test_task_aligned_takes_the_best_candidates_alone() -> None:
    single = replace(TASK_ALIGNED, candidates=1)
    logits = torch.zeros(4, 3)
    logits[1] = 1.0
    targets = assign(single, four_cells(), [[0.0, 0.0, 1.0, 0.5]], logits=logits)
    assert targets.owners.tolist() == [[BACKGROUND, 0, BACKGROUND, BACKGROUND]]


def test_a_small_object_weighs_as_much_as_its_best_box() -> None:
    """However small, its nearest anchor is a candidate, and learns the IoU of its predicted box."""
    grid, small = four_cells(), [0.02, 0.02, 0.06, 0.06]
    codes = torch.zeros(4, 4)
    codes[0] = encode(torch.tensor([small]), grid.boxes[:1])[0]
    targets = assign(TASK_ALIGNED, grid, [small], codes=codes)
    assert targets.owners.tolist() == [[0, BACKGROUND, BACKGROUND, BACKGROUND]]
    assert targets.scores.tolist() == [pytest.approx(1.0, abs=1e-4)]


def test_task_aligned_gives_a_contested_anchor_to_the_greater_iou() -> None:
    boxes = [[0.0, 0.0, 0.5, 0.4], [0.0, 0.0, 0.5, 0.5]]
    targets = assign(TASK_ALIGNED, four_cells(), boxes)
    assert targets.owners.tolist() == [[1, BACKGROUND, BACKGROUND, BACKGROUND]]
    torch.testing.assert_close(targets.scores, pairwise_iou(torch.tensor(boxes[1:]), torch.tensor(boxes[1:]))[0])


def test_an_output_that_misses_everything_leaves_no_positive() -> None:
    targets = assign(TASK_ALIGNED, four_cells(), [[0.0, 0.0, 0.5, 0.5]], codes=torch.full((4, 4), -200.0))
    assert not targets.positive.any()
    assert targets.normaliser == 1


@pytest.mark.parametrize("kind", ["iou", "atss", "task_aligned"])
def test_images_without_objects(kind: Any) -> None:
    targets = assign(make_assigner(AssignerConfig(kind=kind)), four_cells(), [])
    assert targets.owners.tolist() == [[BACKGROUND] * 4]
    assert targets.boxes.shape == (0, 4)
    assert targets.scores.shape == targets.weights.shape == targets.classes.shape == (0,)


def test_the_normaliser_is_the_sum_of_the_weights_unless_another_is_given() -> None:
    grid = one_level(to_centres(torch.tensor([[0.0, 0.0, 0.5, 0.5]])))
    targets = replace(assign(BY_IOU, grid, [[0.0, 0.0, 0.5, 0.5]]), weights=torch.tensor([0.5, 2.25]))
    assert targets.normaliser == 2.75
    assert replace(targets, weights=torch.tensor([0.25, 0.5])).normaliser == 1
    assert replace(targets, given_normaliser=0.5).normaliser == 0.5
