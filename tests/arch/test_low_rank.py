from dataclasses import replace

import pytest

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig, detector_plan
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.low_rank import LayerRank, largest_rank, pointwise_layers, with_ranks
from ofa_det.arch.plan import LayerPlan, PlanBuilder
from ofa_det.arch.space import SearchSpace


def shared_plan() -> LayerPlan:
    """A 1x1 convolution with a stride, a dense one, and two that share weights."""
    builder = PlanBuilder(32, in_channels=24)
    builder.append("wide", "conv", 40, stride=2, activation="relu", batch_norm=True)
    builder.append("dense", "conv", 40, kernel_size=3)
    builder.append("one", "conv", 40)
    builder.append("other", "conv", 40, weights_of="one")
    return LayerPlan(resolution=32, layers=builder.layers, level_features=("wide",))


def test_a_layer_becomes_two_and_everything_else_stays() -> None:
    plan = shared_plan()
    lower = with_ranks(plan, [LayerRank(layer="wide", rank=8)])
    assert [layer.name for layer in lower.layers] == ["wide_reduced", "wide", "dense", "one", "other"]
    first, second = lower.layers[:2]
    assert (first.in_channels, first.out_channels, first.stride, first.inputs) == (24, 8, 2, ("images",))
    assert (first.activation, first.batch_norm, first.output_shape) == ("none", False, (8, 16, 16))
    assert (second.in_channels, second.out_channels, second.stride, second.inputs) == (8, 40, 1, ("wide_reduced",))
    assert (second.activation, second.batch_norm, second.output_shape) == ("relu", True, (40, 16, 16))
    assert lower.layers[2:] == plan.layers[1:]
    assert lower.level_features == ("wide",)
    # 16 x 16 cells; a bias of 8 is new.
    assert plan.macs - lower.macs == 256 * (24 * 40 - 8 * (24 + 40))
    assert plan.parameters - lower.parameters == 24 * 40 - 8 * (24 + 40) - 8
    assert with_ranks(plan, ()) is plan


def test_the_largest_rank_saves_and_the_next_does_not() -> None:
    layer = shared_plan()["wide"]
    assert largest_rank(layer) == 14  # 14 x (24 + 40) = 896 < 24 x 40 = 960 = 15 x 64
    assert [each.name for each in pointwise_layers(shared_plan())] == ["wide"]


@pytest.mark.parametrize(
    ("layer", "rank", "message"),
    [
        (
            "wide",
            15,
            "expected a rank up to 14 of 'wide', above which two convolutions cost more than its 24 x 40, fou",
        ),
        ("wider", 8, "expected a rank of a 1x1 convolution .*, such as wide, found one of 'wider'"),
        ("dense", 8, "found one of 'dense'"),
        ("one", 8, "whose weights no other layer uses, such as wide, found one of 'one'"),
        ("other", 8, "found one of 'other'"),
    ],
)
def test_ranks_that_do_not_serve(layer: str, rank: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_ranks(shared_plan(), [LayerRank(layer=layer, rank=rank)])


def test_a_name_that_is_taken() -> None:
    builder = PlanBuilder(32, in_channels=24)
    builder.append("wide", "conv", 40)
    builder.append("wide_reduced", "depthwise")
    with pytest.raises(ValueError, match="expected no layer named 'wide_reduced'"):
        with_ranks(LayerPlan(resolution=32, layers=builder.layers), [LayerRank(layer="wide", rank=8)])


def test_ranks_are_part_of_the_value_of_a_detector(tiny_space: SearchSpace) -> None:
    detector = DetectorConfig.of(tiny_space, num_classes=2, anchor_sizes=ssd_anchor_sizes())
    subnet = tiny_space.smallest(64)
    rank = LayerRank(layer="backbone.last", rank=16)
    lower = replace(detector, ranks=(rank,))
    assert lower != detector
    assert detector_plan(lower, subnet)["backbone.last_reduced"].out_channels == 16
    assert "backbone.last_reduced" not in {layer.name for layer in detector_plan(detector, subnet).layers}
    with pytest.raises(ValueError, match=r"expected one rank of each layer, found several of 'backbone\.last'"):
        replace(detector, ranks=(rank, rank))
    with pytest.raises(ValueError, match=r"expected a rank >= 1 of 'backbone\.last', found 0"):
        replace(rank, rank=0)

    categories = (Category(id=1, name="ring"), Category(id=4, name="star"))
    description = ModelDescription(
        detector=lower, subnet=subnet, categories=categories, postprocess=PostProcessConfig()
    )
    shipped = description.shipped_plan(subnet)
    assert shipped["backbone.last_reduced"].out_channels == 16
    with pytest.raises(ValueError, match="expected ranks of a detector of one subnet, found 1 of a supernet"):
        replace(description, subnet=None)
