import math

import pytest

from ofa_det.arch.layers import LayerSpec
from ofa_det.arch.levels import AnchorRecall, HeadConfig, LevelSpec, NodeSpec, Recall, ssd_anchor_sizes, with_anchors


def test_ssd_anchors_by_hand() -> None:
    """TF's ssdlite_mobilenet_v3 configuration: scales 0.2, 0.35, ..., 0.95, reduced lowest level."""
    levels = ssd_anchor_sizes()
    assert [len(level) for level in levels] == [3, 6, 6, 6, 6, 6]
    root = math.sqrt(2)
    assert levels[0][0] == pytest.approx((0.1, 0.1))
    assert levels[0][1] == pytest.approx((0.2 * root, 0.2 / root))
    assert levels[0][2] == pytest.approx((0.2 / root, 0.2 * root))
    assert levels[1][0] == pytest.approx((0.35, 0.35))
    assert levels[1][3] == pytest.approx((0.35 * math.sqrt(3), 0.35 / math.sqrt(3)))
    assert levels[1][5] == pytest.approx((math.sqrt(0.35 * 0.5),) * 2)
    assert levels[5][0] == pytest.approx((0.95, 0.95))
    # The level above the last has scale 1 (SSD, section 2.2).
    assert levels[5][5] == pytest.approx((math.sqrt(0.95),) * 2)


def test_ssd_anchors_of_three_levels_by_hand() -> None:
    levels = ssd_anchor_sizes(3, 0.1, 0.9)
    assert [len(level) for level in levels] == [3, 6, 6]
    assert levels[0][0] == pytest.approx((0.05, 0.05))
    assert levels[1][0] == pytest.approx((0.5, 0.5))
    assert levels[2][5] == pytest.approx((math.sqrt(0.9),) * 2)


def test_the_lowest_level_in_full() -> None:
    whole, reduced = ssd_anchor_sizes(3, 0.1, 0.9, reduced=False), ssd_anchor_sizes(3, 0.1, 0.9)
    assert whole[1:] == reduced[1:]
    root = math.sqrt(2)
    assert whole[0][0] == pytest.approx((0.1, 0.1))
    assert whole[0][1] == pytest.approx((0.1 * root, 0.1 / root))
    assert whole[0][2] == pytest.approx((0.1 / root, 0.1 * root))
    # Between its scale and that of the level above.
    assert whole[0][5] == pytest.approx((math.sqrt(0.1 * 0.5),) * 2)


def test_areas_follow_the_scale_whatever_the_ratio() -> None:
    for level in ssd_anchor_sizes(6, 0.08, 0.9)[1:]:
        areas = [width * height for width, height in level[:5]]
        assert areas == pytest.approx([areas[0]] * 5)


@pytest.mark.parametrize(("low", "high"), [(0, 0.9), (0.5, 0.5), (0.2, 1.1), (-0.1, 0.5)])
def test_impossible_scales_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="min_scale"):
        ssd_anchor_sizes(6, low, high)


def test_one_level_has_no_ssd_anchors() -> None:
    with pytest.raises(ValueError, match="at least two levels for SSD anchors, found 1; fit anchors"):
        ssd_anchor_sizes(1)


def test_levels_take_anchors_in_order() -> None:
    levels = (LevelSpec(feature="a", stride=8, anchors=((0.5, 0.5),)), LevelSpec(feature="b", stride=16))
    found = with_anchors(levels, (((0.1, 0.2),), ((0.3, 0.4), (0.6, 0.5))))
    assert found == (
        LevelSpec(feature="a", stride=8, anchors=((0.1, 0.2),)),
        LevelSpec(feature="b", stride=16, anchors=((0.3, 0.4), (0.6, 0.5))),
    )
    with pytest.raises(ValueError, match="anchors of 2 levels, found 1"):
        with_anchors(levels, (((0.1, 0.2),),))


@pytest.mark.parametrize(("resolution", "cells"), [(320, 5), (321, 6), (319, 5), (64, 1), (32, 1)])
def test_cells_are_counted_as_convolutions_round(resolution: int, cells: int) -> None:
    assert LevelSpec(feature="a", stride=64).cells(resolution) == cells


@pytest.mark.parametrize(
    ("values", "message"),
    [({"stride": 0}, "stride >= 1"), ({"stride": 8, "anchors": ((0.1, -0.1),)}, "positive anchor sizes")],
)
def test_broken_levels_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LevelSpec(feature="a", **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 8, "inputs": ("a", "b")}, r"at most one input of the conv 'x', found \['a', 'b'\]"),
        ({"kind": "resize", "inputs": ("a", "b")}, "at most one input of the resize"),
        ({"kind": "add", "inputs": ("a",)}, "two or more inputs of the add 'x'"),
        ({"kind": "concat"}, r"two or more inputs of the concat 'x', found \[\]"),
        ({"kind": "conv"}, "a width of a conv"),
    ],
)
def test_broken_nodes_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NodeSpec(name="x", **values)


@pytest.mark.parametrize("name", ["p3", "extra0.reduce", "top_down.3", "half"])
def test_nodes_are_called_by_words(name: str) -> None:
    assert NodeSpec(name=name, width=8).name == name


@pytest.mark.parametrize("name", ["", "P3", "3p", "a-b", "a b", "a/b", "a.", ".a", "a..b"])
def test_names_that_are_no_words_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected a name of a-z, .* found {name!r}"):
        NodeSpec(name=name, width=8)


@pytest.mark.parametrize("spec", [LayerSpec(kind="resize"), LayerSpec(width=8, stride=2)])
def test_a_tower_keeps_the_size(spec: LayerSpec) -> None:
    with pytest.raises(ValueError, match="tower of conv and depthwise layers of stride 1"):
        HeadConfig(tower=(spec,))


def test_recall_of_groups() -> None:
    classes = tuple(Recall(boxes=boxes, recalled=recalled) for boxes, recalled in ((4, 3), (0, 0), (6, 1)))
    recall = AnchorRecall(classes=classes, levels=(Recall(boxes=10, recalled=4),), mean_iou=0.4)
    assert recall.all_boxes == Recall(boxes=10, recalled=4)
    assert [group.fraction for group in classes] == [0.75, 1.0, pytest.approx(1 / 6)]
    # A class without boxes has nothing to miss.
    assert recall.worst_classes() == [2, 0]
