import random

import pytest

from ofa_det.arch.detector import BackboneConfig, DetectorConfig
from ofa_det.arch.layer_plan import IMAGES, Layer, LayerPlan, classifier_plan, detector_plan, make_divisible
from ofa_det.arch.search_space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig

SPACE = SearchSpace()
DETECTOR = DetectorConfig(num_classes=90)


def plan(subnet: SubnetConfig | None = None, **backbone: object) -> LayerPlan:
    config = DetectorConfig(num_classes=90, backbone=BackboneConfig(**backbone))
    return detector_plan(config, subnet or SPACE.largest(320))


def layer(**changes: object) -> Layer:
    values = {"name": "x", "inputs": (IMAGES,), "in_channels": 16, "out_channels": 24, "in_height": 15, "in_width": 9}
    return Layer(**(values | changes))


def test_macs_and_parameters_of_a_convolution_by_hand() -> None:
    conv = layer(kind="conv", kernel_size=3, stride=2, batch_norm=True)
    assert (conv.out_height, conv.out_width) == (8, 5)
    assert conv.weight_count == 24 * 16 * 9
    assert conv.macs == 24 * 16 * 9 * 8 * 5
    assert conv.parameters == 24 * 16 * 9 + 2 * 24
    assert layer(kind="conv").parameters == 24 * 16 + 24


def test_macs_and_parameters_of_a_depthwise_convolution_by_hand() -> None:
    depthwise = layer(kind="depthwise", out_channels=16, kernel_size=5, batch_norm=True)
    assert depthwise.macs == 16 * 25 * 15 * 9
    assert depthwise.parameters == 16 * 25 + 2 * 16


@pytest.mark.parametrize("kind", ["pool", "multiply", "add"])
def test_other_layers_have_no_weights(kind: str) -> None:
    other = layer(kind=kind, out_channels=16)
    assert (other.macs, other.parameters) == (0, 0)
    assert (other.out_height, other.out_width) == ((1, 1) if kind == "pool" else (15, 9))


def test_anchor_count_of_the_tf_configuration_at_320() -> None:
    largest = detector_plan(DETECTOR, SPACE.largest(320))
    assert largest.feature_sizes == ((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))
    anchors = [h * w * len(s) for (h, w), s in zip(largest.feature_sizes, DETECTOR.anchor_sizes, strict=True)]
    assert sum(anchors) == 2034
    for name, sizes in zip(largest.box_outputs, DETECTOR.anchor_sizes, strict=True):
        assert largest[name].out_channels == 4 * len(sizes)
    for name, sizes in zip(largest.score_outputs, DETECTOR.anchor_sizes, strict=True):
        assert largest[name].out_channels == 90 * len(sizes)


@pytest.mark.parametrize("seed", range(10))
def test_every_layer_reads_the_shapes_that_were_written(seed: int) -> None:
    subnet = SPACE.sample(random.Random(seed))
    found = detector_plan(DETECTOR, subnet)
    shapes = {IMAGES: (3, subnet.resolution, subnet.resolution)}
    for record in found.layers:
        assert record.name not in shapes
        assert shapes[record.inputs[0]] == (record.in_channels, record.in_height, record.in_width)
        if record.kind == "add":
            assert shapes[record.inputs[1]] == shapes[record.inputs[0]]
        if record.kind == "multiply":
            assert shapes[record.inputs[1]] == (record.in_channels, 1, 1)
        if record.kind in ("depthwise", "pool", "multiply", "add"):
            assert record.in_channels == record.out_channels
        shapes[record.name] = (record.out_channels, record.out_height, record.out_width)


def test_head_taps_follow_mobilenet_v3() -> None:
    """MobileNetV3, section 6.3: the first tap is the expansion of the first stride-32 block."""
    largest = plan()
    first = largest["head.levels.0.box.depthwise"]
    assert first.inputs == ("backbone.stages.4.0.expand",)
    assert (first.in_channels, first.in_height) == (6 * 112, 20)
    second = largest["head.levels.1.score.depthwise"]
    assert second.inputs == ("backbone.last",)
    assert (second.in_channels, second.in_height) == (480, 10)


def test_first_tap_follows_the_elastic_expansion() -> None:
    assert plan(SPACE.smallest(320))["head.levels.0.box.depthwise"].in_channels == 3 * 112


def test_backbone_of_the_largest_subnet() -> None:
    found = plan()
    projections = [found[f"backbone.stages.{stage}.3.project"] for stage in range(5)]
    assert [p.out_channels for p in projections] == [24, 40, 80, 112, 160]
    assert [p.out_height for p in projections] == [80, 40, 20, 20, 10]
    assert found["backbone.stages.0.0.depthwise"].stride == 2
    assert found["backbone.stages.3.0.depthwise"].stride == 1
    names = {record.name for record in found.layers}
    assert "backbone.first.expand" not in names
    assert "backbone.first.add" in names
    for stage, has_gate in enumerate((False, True, False, True, True)):
        assert (f"backbone.stages.{stage}.0.gate" in names) == has_gate
        assert f"backbone.stages.{stage}.0.add" not in names
        assert f"backbone.stages.{stage}.1.add" in names


def test_activations_are_a_choice_of_the_backbone() -> None:
    smooth = {record.activation for record in plan().layers}
    assert smooth == {"none", "relu", "relu6", "hswish", "hsigmoid"}
    plain = {record.activation for record in plan(hswish=False, squeeze_excite=False).layers}
    assert plain == {"none", "relu", "relu6"}


def test_width_multiplier_scales_every_backbone_width() -> None:
    wide = plan(width_mult=1.2)
    assert [wide[f"backbone.stages.{stage}.0.project"].out_channels for stage in range(5)] == [32, 48, 96, 136, 192]
    assert wide["backbone.stem"].out_channels == 24
    assert wide["backbone.last"].out_channels == 576


@pytest.mark.parametrize(
    ("width", "expected"), [(16, 16), (19.2, 24), (28.8, 32), (134.4, 136), (3, 8), (11.9, 16), (12, 16), (10, 16)]
)
def test_make_divisible_by_hand(width: float, expected: int) -> None:
    assert make_divisible(width) == expected


def test_totals_are_sums_and_grow_with_the_subnet() -> None:
    small, large = (detector_plan(DETECTOR, subnet) for subnet in (SPACE.smallest(320), SPACE.largest(320)))
    assert small.macs == sum(record.macs for record in small.layers)
    assert small.macs < large.macs
    assert small.parameters < large.parameters
    assert detector_plan(DETECTOR, SPACE.smallest(192)).parameters == small.parameters


def test_published_ofa_classifier_size() -> None:
    """The OFA supernet of width 1.0 has 7.7 M parameters at full size, of which about 1.3 M are the classifier's."""
    backbone = BackboneConfig(last_width=960)
    found = classifier_plan(backbone, SPACE.largest(224))
    linear = found["classifier.linear"]
    assert linear.parameters == 1280 * 1000 + 1000
    assert found["classifier.mix"].in_channels == 960
    assert 7.0e6 < found.parameters < 8.0e6


def test_a_subnet_of_another_number_of_stages_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 5 stages, found 1"):
        detector_plan(DETECTOR, SubnetConfig.parse("r320 k3e3.k3e3"))
