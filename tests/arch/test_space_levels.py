"""What a search space says of its levels, their anchors and what they read."""

from dataclasses import replace

import pytest
from spaces_by_hand import space, stage

from ofa_det.arch.layers import LayerSpec
from ofa_det.arch.levels import HeadConfig, LevelSpec, NodeSpec, ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space

SPACE = read_space("ssdlite_mbv3")


def test_anchors_are_on_every_level_or_on_none() -> None:
    anchors = ((0.1, 0.1),)
    bare, stated = LevelSpec(feature="stages.0", stride=2), LevelSpec(feature="stem", stride=2, anchors=anchors)
    assert space(stage(), levels=(bare, bare)).own_anchors is None
    assert space(stage(), levels=(stated, stated)).own_anchors == (anchors, anchors)
    with pytest.raises(ValueError, match="anchors on every level or on none, found them on stem alone"):
        _ = space(stage(), levels=(bare, stated)).own_anchors


def test_stock_anchors_fit_every_head() -> None:
    level, shared = LevelSpec(feature="stages.0", stride=2), HeadConfig(shared=True)
    assert SPACE.stock_anchors() == ssd_anchor_sizes()
    assert space(stage(), levels=(level,) * 3, head=shared).stock_anchors() == tuple(
        sizes[:3] for sizes in ssd_anchor_sizes(3)
    )
    assert [len(sizes) for sizes in space(stage()).stock_anchors()] == [3]


CHAIN = space(
    stage(),
    stage(stride=2),
    neck=(
        NodeSpec(name="a", kind="depthwise", kernel_size=3, stride=2),
        NodeSpec(name="b", width=8),
        NodeSpec(name="c", kind="depthwise", kernel_size=3, stride=2),
        NodeSpec(name="side", inputs=("stages.0",), width=8),
        NodeSpec(name="unread", width=8),
    ),
    levels=(
        LevelSpec(feature="side", stride=2),
        LevelSpec(feature="stages.1", stride=4),
        LevelSpec(feature="b", stride=8),
        LevelSpec(feature="c", stride=16),
    ),
)
"""Levels off a chain of nodes, each reading the one before it, and off a node beside it."""

ONE = ((0.1, 0.1),)


@pytest.mark.parametrize(
    ("given", "nodes"),
    [
        ("1111", ["a", "b", "c", "side", "unread"]),
        ("1110", ["a", "b", "side", "unread"]),
        ("1101", ["a", "b", "c", "side", "unread"]),
        ("0010", ["a", "b", "unread"]),
        ("1000", ["side", "unread"]),
        ("0100", ["unread"]),
    ],
)
def test_levels_without_anchors_go_with_the_nodes_that_they_alone_read(given: str, nodes: list[str]) -> None:
    kept = [level for level, digit in zip(CHAIN.levels, given, strict=True) if digit == "1"]
    found = CHAIN.with_anchors(tuple(ONE if digit == "1" else () for digit in given))
    assert found.levels == tuple(replace(level, anchors=ONE) for level in kept)
    # What nothing read before is the user's own.
    assert [node.name for node in found.neck] == nodes
    assert replace(found, levels=CHAIN.levels, neck=CHAIN.neck) == CHAIN


def test_a_space_keeps_one_level_at_least() -> None:
    with pytest.raises(ValueError, match="anchors on one level or more, found none"):
        CHAIN.with_anchors(((),) * 4)
    with pytest.raises(ValueError, match="anchors of 4 levels, found 1"):
        CHAIN.with_anchors((ONE,))


def test_what_levels_read() -> None:
    assert CHAIN.features_read(CHAIN.levels[3:]) == {"c", "b", "a", "stages.1"}
    assert CHAIN.features_read(CHAIN.levels[:1]) == {"side", "stages.0"}
    # The first node reads what the backbone ends with.
    last = replace(CHAIN.backbone, last=LayerSpec(width=32))
    assert replace(CHAIN, backbone=last).features_read(CHAIN.levels[2:3]) == {"b", "a", "last"}
    assert (CHAIN.backbone.end, last.end) == ("stages.1", "last")
