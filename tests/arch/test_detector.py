import random
from dataclasses import replace

import pytest
from spaces_by_hand import ANCHORS, PYRAMID, pyramid

from ofa_det.arch.detector import DetectorConfig, classifier_plan, detector_plan, elastic_layers, shipped_plan
from ofa_det.arch.layers import LayerSpec
from ofa_det.arch.levels import HeadConfig, LevelSpec, NodeSpec, ssd_anchor_sizes
from ofa_det.arch.plan import IMAGES
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space

SPACE = read_space("ssdlite_mbv3")
DETECTOR = DetectorConfig.of(SPACE, num_classes=80, anchor_sizes=ssd_anchor_sizes())


@pytest.mark.parametrize(
    ("text", "macs", "parameters"),
    [
        ("r192 k3e1" + " k3e3.k3e3" * 5, 116_331_648, 2_228_660),
        ("r320 k3e1" + " k3e3.k3e3" * 5, 322_321_536, 2_228_660),
        ("r320 k3e1" + " k7e6.k7e6.k7e6.k7e6" * 5, 1_264_232_256, 6_574_692),
        (
            "r256 k3e1 k5e6.k3e3 k3e4.k7e3.k7e3.k3e3 k5e3.k3e3.k7e4 k7e3.k3e6 k7e3.k7e6.k5e3.k3e3",
            341_402_816,
            3_727_532,
        ),
    ],
)
def test_totals_are_those_that_the_fixed_six_level_plan_had(text: str, macs: int, parameters: int) -> None:
    plan = detector_plan(DETECTOR, SubnetConfig.parse(text))
    assert (plan.macs, plan.parameters) == (macs, parameters)
    assert plan.macs == sum(layer.macs for layer in plan.layers)


def test_anchor_count_of_the_tf_configuration_at_320() -> None:
    plan = detector_plan(DETECTOR, SPACE.largest(320))
    assert plan.feature_sizes == ((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))
    assert plan.anchors_per_cell == (3, 6, 6, 6, 6, 6)
    assert plan.num_anchors == 2034
    assert [plan[name].out_channels for name in plan.score_outputs] == [80 * 3] + [80 * 6] * 5


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("detector", [DETECTOR, pyramid()], ids=["ssdlite", "pyramid"])
def test_every_layer_reads_the_shapes_that_were_written(detector: DetectorConfig, seed: int) -> None:
    subnet = detector.space.sample(random.Random(seed))
    shapes = {IMAGES: (3, subnet.resolution, subnet.resolution)}
    for layer in detector_plan(detector, subnet).layers:
        assert layer.name not in shapes
        assert layer.input_shapes == tuple(shapes[name] for name in layer.inputs)
        if layer.kind == "add":
            assert layer.input_shapes[0] == layer.input_shapes[1]
        if layer.kind == "multiply":
            assert layer.input_shapes[1] == (layer.in_channels, 1, 1)
        if layer.kind not in ("conv", "concat"):
            assert layer.in_channels == layer.out_channels
        shapes[layer.name] = layer.output_shape


def test_head_taps_follow_mobilenet_v3() -> None:
    """MobileNetV3, section 6.3: the first tap is the expansion of the first stride-32 block."""
    plan = detector_plan(DETECTOR, SPACE.largest(320))
    first = plan["head.levels.0.box.0"]
    assert first.inputs == ("backbone.stages.5.0.expand",)
    assert first.input_shapes == ((6 * 112, 20, 20),)
    second = plan["head.levels.1.score.0"]
    assert second.inputs == ("backbone.last",)
    assert second.input_shapes == ((480, 10, 10),)
    assert detector_plan(DETECTOR, SPACE.smallest(320))["head.levels.0.box.0"].in_channels == 3 * 112


def test_backbone_of_the_largest_subnet() -> None:
    plan = detector_plan(DETECTOR, SPACE.largest(320))
    projections = [plan[f"backbone.stages.{stage}.3.project"] for stage in range(1, 6)]
    assert [layer.output_shape[:2] for layer in projections] == [(24, 80), (40, 40), (80, 20), (112, 20), (160, 10)]
    assert plan["backbone.stages.1.0.depthwise"].stride == 2
    assert plan["backbone.stages.1.1.depthwise"].stride == 1
    assert plan["backbone.stages.4.0.depthwise"].stride == 1
    names = {layer.name for layer in plan.layers}
    assert "backbone.stages.0.0.expand" not in names
    assert "backbone.stages.0.0.add" in names
    for stage, has_gate in enumerate((False, True, False, True, True), 1):
        assert (f"backbone.stages.{stage}.0.gate" in names) == has_gate
        assert f"backbone.stages.{stage}.0.add" not in names
        assert f"backbone.stages.{stage}.1.add" in names


def test_squeeze_excite_widths_by_hand() -> None:
    """A quarter of the expansion, rounded to a multiple of 8 that is not below 90 % of it."""

    def squeezed(subnet: SubnetConfig) -> list[int]:
        layers = detector_plan(DETECTOR, subnet).layers
        return [layer.out_channels for layer in layers if layer.name.endswith("squeeze")]

    # 24 x 3 / 4 = 18 -> 24, 40 x 3 / 4 = 30 -> 32; 80 x 3 / 4 = 60 -> 64, 112 x 3 / 4 = 84 -> 88; 84 -> 88, 120.
    assert squeezed(SPACE.smallest()) == [24, 32, 64, 88, 88, 120]
    # 24 x 6 / 4 = 36 -> 40, then 60 -> 64; 120, then 168; 168, then 240.
    assert squeezed(SPACE.largest()) == [40, 64, 64, 64, 120, 168, 168, 168, 168, 240, 240, 240]


def test_widths_of_the_published_space_of_width_1_2() -> None:
    wide = read_space("ofa_mbv3_w1.2")
    plan = classifier_plan(wide.backbone, wide.largest(224))
    assert [plan[f"backbone.stages.{stage}.0.project"].out_channels for stage in range(6)] == [24, 32, 48, 96, 136, 192]
    assert plan["backbone.stem"].out_channels == 24
    assert plan["backbone.last"].out_channels == 1152


@pytest.mark.parametrize(
    ("name", "feature_width", "macs", "parameters"),
    [("ofa_mbv3_w1.0", 1280, 566_170_656, 7_666_040), ("ofa_mbv3_w1.2", 1536, 843_101_040, 10_703_168)],
)
def test_published_ofa_classifiers(name: str, feature_width: int, macs: int, parameters: int) -> None:
    """The OFA supernet of width 1.0 has 7.7 M parameters at full size, of which 1.28 M are the last layer's."""
    space = read_space(name)
    plan = classifier_plan(space.backbone, space.largest(224), feature_width=feature_width)
    assert (plan.macs, plan.parameters) == (macs, parameters)
    assert plan["classifier.linear"].parameters == feature_width * 1000 + 1000


def test_a_neck_that_resizes_adds_and_joins() -> None:
    plan = detector_plan(pyramid(), PYRAMID.largest(64))
    assert plan["neck.top"].input_shapes == ((24, 8, 8),)
    assert plan["neck.up"].output_shape == (16, 16, 16)
    assert plan["neck.sum"].inputs == ("neck.up", "backbone.stages.0.1.add")
    assert plan["neck.both"].output_shape == (32, 16, 16)
    assert plan["neck.fine"].in_channels == 32
    assert plan.feature_sizes == ((16, 16), (8, 8))
    assert plan.num_anchors == 2 * (16 * 16 + 8 * 8)
    shallow = detector_plan(pyramid(), PYRAMID.smallest(64))
    assert shallow["neck.sum"].inputs == ("neck.up", "backbone.stages.0.0.project")


def test_a_resolution_that_the_neck_cannot_join_is_refused_with_the_mend() -> None:
    detector = pyramid(resolutions=(60, 64))
    message = r"found neck.up 16x16x16, backbone.* 16x15x15 .* at 60 px; .* needs resolutions that its largest stride"
    with pytest.raises(ValueError, match=message):
        detector_plan(detector, PYRAMID.smallest(60))
    with pytest.raises(ValueError, match=message):
        elastic_layers(detector)


def test_a_shared_head_has_its_convolutions_once_and_batch_norms_per_level() -> None:
    plan = detector_plan(pyramid(), PYRAMID.largest(64))
    tower, box, score = 16 * 32 * 9, 32 * 2 * 4, 32 * 2 * 3

    def total(level: int, of: str, shipped: bool = False) -> int:
        layers = (plan.folded() if shipped else plan).layers
        return sum(getattr(layer, of) for layer in layers if layer.name.startswith(f"head.levels.{level}."))

    assert total(0, "parameters") == tower + 2 * 32 + box + 8 + score + 6
    assert total(1, "parameters") == 2 * 32
    assert total(1, "parameters", shipped=True) == tower + 32 + box + 8 + score + 6
    assert total(0, "macs") == (tower + box + score) * 16 * 16
    assert total(1, "macs") == (tower + box + score) * 8 * 8
    assert plan["head.levels.1.tower.0"].weights_of == "head.levels.0.tower.0"
    assert plan["head.levels.1.box.project"].weights_of == "head.levels.0.box.project"
    assert plan["head.levels.1.score.project"].inputs == ("head.levels.1.tower.0",)


def test_towers_apart_and_levels_apart() -> None:
    head = HeadConfig(tower=(LayerSpec(width=32, kernel_size=3), LayerSpec(kind="depthwise", kernel_size=3)))
    plan = detector_plan(pyramid(head=head), PYRAMID.largest(64))
    assert plan["head.levels.1.box.1"].inputs == ("head.levels.1.box.0",)
    assert plan["head.levels.1.score.0"].inputs == ("neck.top",)
    assert all(layer.weights_of is None for layer in plan.layers)
    assert plan.macs == detector_plan(pyramid(head=replace(head, shared=True)), PYRAMID.largest(64)).macs


def test_levels_that_cannot_share_a_head_are_refused() -> None:
    fine, top = PYRAMID.levels
    with pytest.raises(ValueError, match=r"'head\.levels\.1\.tower\.0' .* found 24 -> 32 channels for 16 -> 32"):
        detector_plan(pyramid(levels=(fine, replace(top, feature="stages.1"))), PYRAMID.largest())
    with pytest.raises(ValueError, match=r"as many anchors on every level of a shared head, found \[2, 1\]"):
        pyramid(levels=(fine, replace(top, anchors=ANCHORS[:1])))


def test_fused_and_unexpanded_blocks() -> None:
    plan = detector_plan(pyramid(), SubnetConfig.parse("r64 k5e4f.k3e1 k3e2"))
    fused = plan["backbone.stages.0.0.fused"]
    assert fused.weight_count == 8 * 32 * 25
    assert fused.output_shape == (32, 16, 16)
    names = {layer.name for layer in plan.layers}
    assert "backbone.stages.0.0.depthwise" not in names
    assert "backbone.stages.0.1.expand" not in names
    assert plan["backbone.stages.0.1.depthwise"].in_channels == 16


def test_padding_is_that_of_the_backbone_alone() -> None:
    backbone = replace(PYRAMID.backbone, padding="symmetric")
    down = NodeSpec(name="down", kind="depthwise", kernel_size=3, stride=2, inputs=("stages.0",))
    symmetric = pyramid(backbone=backbone, neck=(*PYRAMID.neck, down))
    plan, same = (detector_plan(detector, PYRAMID.largest(64)) for detector in (symmetric, pyramid()))
    assert plan["backbone.stem"].margins[0] == (1, 1)
    assert same["backbone.stem"].margins[0] == (0, 1)
    assert plan["neck.down"].margins[0] == (0, 1)


def test_the_epsilon_of_batch_norms_is_that_of_the_backbone_alone() -> None:
    detector = pyramid(backbone=replace(PYRAMID.backbone, batch_norm_epsilon=1e-3))
    layers = [*detector_plan(detector, PYRAMID.largest(64)).layers, *elastic_layers(detector)]
    for layer in layers:
        of_backbone = layer.name.startswith("backbone.") and layer.batch_norm
        assert layer.batch_norm_epsilon == (1e-3 if of_backbone else 1e-5), layer.name
    with pytest.raises(ValueError, match="expected batch_norm_epsilon > 0, found 0"):
        replace(PYRAMID.backbone, batch_norm_epsilon=0)


def test_a_level_of_another_stride_is_refused() -> None:
    levels = (PYRAMID.levels[0], replace(PYRAMID.levels[1], stride=16))
    with pytest.raises(
        ValueError, match="4 cells a side of level 'top', which has stride 16, at 64 px, found 8; correct the level's"
    ):
        detector_plan(pyramid(levels=levels), PYRAMID.smallest())


def test_unknown_features_are_refused_with_those_there_are() -> None:
    levels = (LevelSpec(feature="nowhere", stride=4, anchors=ANCHORS),)
    with pytest.raises(
        ValueError,
        match=r"a level to read one of stem, stages\.0, stages\.1, top, up, sum, both, fine, .* found 'nowhere'",
    ):
        detector_plan(pyramid(levels=levels), PYRAMID.smallest())
    neck = (NodeSpec(name="top", width=16, inputs=("fine",)),)
    with pytest.raises(
        ValueError, match=r"neck node 'top' to read one of stem, stages\.0, stages\.1, or .* found 'fine'"
    ):
        detector_plan(pyramid(neck=neck), PYRAMID.smallest())


def test_a_neck_node_does_not_hide_a_feature_of_the_backbone() -> None:
    neck = (*PYRAMID.neck, NodeSpec(name="stages.0", width=16))
    with pytest.raises(ValueError, match=r"name of its own for neck node 'stages\.0'"):
        detector_plan(pyramid(neck=neck), PYRAMID.smallest())


def test_a_subnet_of_another_number_of_stages_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 6 stages, found 1 in r320 k3e3\.k3e3"):
        detector_plan(DETECTOR, SubnetConfig.parse("r320 k3e3.k3e3"))


def test_the_shipped_plan_has_folded_norms_and_the_columns_of_the_file() -> None:
    subnet = SPACE.smallest(320)
    plan, shipped = detector_plan(DETECTOR, subnet), shipped_plan(DETECTOR, 90, subnet)
    assert [shipped[name].out_channels for name in shipped.score_outputs] == [90 * 3] + [90 * 6] * 5
    assert [shipped[name].out_channels for name in shipped.box_outputs] == [
        plan[name].out_channels for name in plan.box_outputs
    ]
    assert not any(layer.batch_norm for layer in shipped.layers)
    assert shipped["backbone.stem"].parameters == 16 * 3 * 9 + 16


def test_configs_are_values() -> None:
    assert pyramid() == pyramid()
    assert len({pyramid(), pyramid(), DETECTOR}) == 2
    assert DETECTOR.anchor_sizes == ssd_anchor_sizes()


def test_broken_detectors_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes >= 1, found 0"):
        DetectorConfig(num_classes=0, space=PYRAMID)
    with pytest.raises(ValueError, match=r"anchors on every level, found none on stages\.5\.0\.expand, last, "):
        DetectorConfig(num_classes=3, space=SPACE)
    with pytest.raises(ValueError, match="anchors of 6 levels, found 2"):
        DetectorConfig.of(SPACE, num_classes=3, anchor_sizes=ssd_anchor_sizes(2))
    unequal = (PYRAMID.levels[0], replace(PYRAMID.levels[1], anchors=ANCHORS[:1]))
    with pytest.raises(ValueError, match=r"shared head, found \[2, 1\]; state as many on each, fit them to this"):
        pyramid(levels=unequal)


def test_a_level_left_out_costs_nothing_and_changes_nothing_else() -> None:
    sizes = ssd_anchor_sizes()
    pruned = DetectorConfig.of(SPACE, num_classes=80, anchor_sizes=(*sizes[:3], (), (), ()))
    subnet = SPACE.smallest(320)
    plan, whole = detector_plan(pruned, subnet), detector_plan(DETECTOR, subnet)
    assert pruned.anchor_sizes == sizes[:3]
    parts = ("neck.extra1", "neck.extra2", "neck.extra3", "head.levels.3", "head.levels.4", "head.levels.5")
    assert plan.layers == tuple(layer for layer in whole.layers if not layer.name.startswith(parts))
    assert plan.feature_sizes == ((20, 20), (10, 10), (5, 5))
    # Where a level between others goes, the head counts those that stay, and the chain of nodes is whole.
    without = detector_plan(DetectorConfig.of(SPACE, num_classes=80, anchor_sizes=(sizes[0], (), *sizes[2:])), subnet)
    assert without["head.levels.1.box.0"].inputs == ("neck.extra0.expand",)
    assert [layer.name for layer in without.layers if layer.name.startswith("neck")] == [
        layer.name for layer in whole.layers if layer.name.startswith("neck")
    ]
    assert elastic_layers(pruned) == tuple(
        layer for layer in elastic_layers(DETECTOR) if not layer.name.startswith(parts)
    )
