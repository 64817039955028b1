"""The search spaces that ship: what each is meant to be."""

from dataclasses import replace
from pathlib import Path

import pytest

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig, detector_plan
from ofa_det.arch.plan import LayerPlan
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.records import from_plain, to_plain

SPACES = sorted(path.stem for path in (Path(__file__).parents[2] / "configs" / "spaces").glob("*.yaml"))
INT8_CHEAP = ["dsp", "efficientnet_lite0", "mbv3_relu6", "mobiledet", "mobilenet_v2"]


def detector(space: SearchSpace) -> DetectorConfig:
    return DetectorConfig.of(space, num_classes=2, anchor_sizes=space.stock_anchors())


def backbone(plan: LayerPlan) -> LayerPlan:
    return replace(plan, layers=tuple(layer for layer in plan.layers if layer.name.startswith("backbone.")))


def rows(space: SearchSpace) -> list[tuple[int, int, int, int]]:
    """Expansion, channels, repeats and stride of the stages of the largest subnet, as MobileNetV2 writes them."""
    stages = zip(space.stages, space.largest().stages, strict=True)
    return [(blocks[0].expand_ratio, spec.width, len(blocks), spec.stride) for spec, blocks in stages]


@pytest.mark.parametrize("name", SPACES)
def test_smallest_and_largest_subnet_at_every_resolution(name: str) -> None:
    space = read_space(name)
    for resolution in space.resolutions:
        small, large = (detector_plan(detector(space), s(resolution)) for s in (space.smallest, space.largest))
        assert small.macs < large.macs
        assert small.parameters < large.parameters
        assert small.feature_sizes == large.feature_sizes == tuple((n, n) for n in _cells(space, resolution))


@pytest.mark.parametrize("name", INT8_CHEAP)
def test_nothing_in_it_is_dear_in_int8(name: str) -> None:
    space = read_space(name)
    plan = backbone(detector_plan(detector(space), space.largest()))
    assert {layer.activation for layer in plan.layers} == {"none", "relu6"}
    assert {layer.kind for layer in plan.layers} == {"conv", "depthwise", "add"}
    assert not any(layer.pads_unlike_same for layer in plan.layers)


def test_mobilenet_v2_is_table_2_of_the_paper() -> None:
    space = read_space("mobilenet_v2")
    assert rows(space) == [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    assert {block.kernel_size for blocks in space.largest().stages for block in blocks} == {3}
    # 3,504,872 of the whole network, less the convolution to 1280 channels, its norm, and the classifier.
    plan = backbone(detector_plan(detector(space), space.largest(224)))
    assert plan.parameters == 3_504_872 - 320 * 1280 - 2 * 1280 - 1281 * 1000


def test_mbv3_relu6_has_the_widths_of_mobilenet_v3() -> None:
    ours, theirs = read_space("mbv3_relu6"), read_space("ssdlite_mbv3")
    assert [spec.width for spec in ours.stages] == [spec.width for spec in theirs.stages]
    assert [spec.stride for spec in ours.stages] == [spec.stride for spec in theirs.stages]


def test_dsp_is_wider_and_knows_no_large_kernel() -> None:
    space = read_space("dsp")
    widths = [spec.width for spec in read_space("ssdlite_mbv3").stages]
    assert all(abs(spec.width / width - 1.4) < 0.11 for spec, width in zip(space.stages, widths, strict=True))
    assert {size for spec in space.stages for size in spec.kernel_sizes} == {3}


def test_mobiledet_chooses_dense_convolutions_while_there_are_few_channels() -> None:
    space = read_space("mobiledet")
    assert [spec.kinds for spec in space.stages if "fused" in spec.kinds] == [("inverted", "fused")] * 4
    assert space.stages[-1].kinds == ("inverted",)
    plan = detector_plan(detector(space), space.largest(320))
    # Stride 4, 24 to 144 channels, 3x3.
    assert plan["backbone.stages.1.0.fused"].macs == 24 * 144 * 9 * 80 * 80


def test_published_once_for_all_pads_as_torch_does() -> None:
    for name in ("ofa_mbv3_w1.0", "ofa_mbv3_w1.2"):
        space = read_space(name)
        plan = detector_plan(detector(space), space.largest(224))
        convolutions = [layer for layer in plan.layers if layer.name.startswith("backbone.") and layer.has_weights]
        assert all(layer.margins == ((layer.kernel_size // 2,) * 2,) * 2 for layer in convolutions)


def test_a_description_without_an_epsilon_reads_as_it_always_did() -> None:
    categories = (Category(id=1, name="a"), Category(id=2, name="b"))
    description = ModelDescription(
        detector=detector(read_space("ssdlite_mbv3_tiny")),
        subnet=None,
        categories=categories,
        postprocess=PostProcessConfig(),
    )
    plain = to_plain(description)
    del plain["detector"]["space"]["backbone"]["batch_norm_epsilon"]
    assert from_plain(ModelDescription, plain, where="old file") == description


def _cells(space: SearchSpace, resolution: int) -> list[int]:
    return [-(-resolution // level.stride) for level in space.levels]
