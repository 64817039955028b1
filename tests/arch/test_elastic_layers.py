"""What is elastic about the layers of a space, and what may not be."""

import random
from dataclasses import replace

import pytest
from spaces_by_hand import ANCHORS, PYRAMID, pyramid

from ofa_det.arch.detector import DetectorConfig, detector_plan, elastic_layers
from ofa_det.arch.layers import LayerSpec
from ofa_det.arch.levels import HeadConfig, LevelSpec, NodeSpec, ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space

DETECTOR = DetectorConfig.of(read_space("ssdlite_mbv3"), num_classes=80, anchor_sizes=ssd_anchor_sizes())


@pytest.mark.parametrize("feature", ["stages.1.2.project", "stages.0.0.expand"])
def test_a_feature_that_not_every_subnet_has_is_refused_before_training(feature: str) -> None:
    top = LevelSpec(feature=feature, stride=8, anchors=ANCHORS)
    with pytest.raises(ValueError, match="a level to read one of"):
        elastic_layers(pyramid(levels=(PYRAMID.levels[0], top)))


EXPANDED = "stages.1.0.depthwise"
"""A feature of 32 or 64 channels."""


@pytest.mark.parametrize(
    "nodes",
    [
        (NodeSpec(name="joined", kind="concat", inputs=(EXPANDED, "stages.1")),),
        (NodeSpec(name="joined", kind="concat", inputs=("stages.1", EXPANDED)),),
        (NodeSpec(name="joined", kind="add", inputs=(EXPANDED, EXPANDED)),),
        (
            NodeSpec(name="own", kind="depthwise", kernel_size=3, inputs=(EXPANDED,)),
            NodeSpec(name="joined", kind="concat", inputs=("own", "stages.1")),
        ),
    ],
    ids=["concat", "concat_behind", "add", "concat_of_depthwise"],
)
def test_features_of_elastic_width_are_not_joined(nodes: tuple[NodeSpec, ...]) -> None:
    wanted = r"in 'neck\.joined', found \[32, 64\] channels of .*; put a 1x1 conv before it"
    with pytest.raises(ValueError, match=wanted):
        elastic_layers(pyramid(neck=(*PYRAMID.neck, *nodes)))
    fixed = (
        NodeSpec(name="squeezed", inputs=(EXPANDED,), width=24),
        NodeSpec(name="joined", kind="add", inputs=("squeezed", "stages.1")),
    )
    elastic_layers(pyramid(neck=(*PYRAMID.neck, *fixed)))


def test_two_elastic_widths_are_not_added() -> None:
    # Both have one width where all blocks are alike, so only some subnets cannot add them.
    stages = (replace(PYRAMID.stages[0], width=24), replace(PYRAMID.stages[1], stride=1, depths=(2,)))
    both = ("stages.1.0.depthwise", "stages.1.1.depthwise")
    detector = pyramid(
        backbone=replace(PYRAMID.backbone, stages=stages),
        neck=(NodeSpec(name="sum", kind="add", inputs=both), NodeSpec(name="fine", width=16)),
        levels=(PYRAMID.levels[0],),
    )
    with pytest.raises(ValueError, match=r"'neck\.sum', found \[48, 96\] channels of 'backbone\.stages\.1\.0\."):
        elastic_layers(detector)


def test_a_shared_head_reads_features_of_fixed_width() -> None:
    levels = tuple(LevelSpec(feature=name, stride=8, anchors=ANCHORS) for name in (EXPANDED, "top"))
    depthwise = HeadConfig(tower=(LayerSpec(kind="depthwise", kernel_size=3),))
    elastic_layers(pyramid(head=depthwise, levels=levels))
    same = (levels[0], levels[0])
    for head in (PYRAMID.head, HeadConfig(tower=(), shared=True)):
        with pytest.raises(ValueError, match=r"'head\.levels\.0\..*, found \[32, 64\] channels of .*1\.0\.depthwise'"):
            elastic_layers(pyramid(head=head, levels=same))
    # One level shares with no other.
    elastic_layers(pyramid(levels=(levels[0],)))


@pytest.mark.parametrize(("detector", "samples"), [(DETECTOR, 100), (pyramid(), 300)], ids=["ssdlite", "pyramid"])
def test_elastic_layers_are_the_union_of_the_subnets(detector: DetectorConfig, samples: int) -> None:
    elastic = {layer.name: layer for layer in elastic_layers(detector)}
    widest, kernels = dict.fromkeys(elastic, (0, 0)), {name: set() for name in elastic}
    rng = random.Random(0)
    subnets = [detector.space.sample(rng, 96) for _ in range(samples)]
    for subnet in (detector.space.largest(), detector.space.smallest(), *subnets):
        for layer in detector_plan(detector, subnet).layers:
            if not layer.has_weights:
                assert layer.name not in elastic
                continue
            union = elastic[layer.name]
            assert (union.kind, union.batch_norm, union.weights_of) == (layer.kind, layer.batch_norm, layer.weights_of)
            widest[layer.name] = tuple(map(max, widest[layer.name], (layer.in_channels, layer.out_channels)))
            kernels[layer.name].add(layer.kernel_size)
    for name, union in elastic.items():
        assert (union.in_channels, union.out_channels) == widest[name]
        assert union.kernel_sizes == tuple(sorted(kernels[name]))


def test_elastic_layers_begin_with_the_largest_subnet_in_its_order() -> None:
    names = [layer.name for layer in elastic_layers(pyramid())]
    largest = [layer.name for layer in detector_plan(pyramid(), PYRAMID.largest()).layers if layer.has_weights]
    assert names[: len(largest)] == largest
    assert "backbone.stages.0.0.depthwise" in names[len(largest) :]


def test_a_layer_that_never_varies_has_one_kernel() -> None:
    elastic = {layer.name: layer for layer in elastic_layers(pyramid())}
    assert elastic["backbone.stages.0.1.depthwise"].kernel_sizes == (3, 5)
    assert elastic["backbone.stages.0.1.project"].kernel_sizes == (1,)
    for name in ("backbone.stem", "backbone.stages.1.0.depthwise", "head.levels.0.tower.0"):
        assert elastic[name].kernel_sizes == (3,)
