import pytest

from ofa_det.arch.layers import LayerSpec
from ofa_det.arch.plan import IMAGES, LayerPlan, PlanBuilder, make_divisible


def builder(resolution: int = 32) -> PlanBuilder:
    """Features `a` of 8 channels at stride 2, `b` of 12 at stride 4."""
    found = PlanBuilder(resolution)
    found.append("a", "conv", 8, kernel_size=3, stride=2)
    found.append("b", "conv", 12, kernel_size=3, stride=2)
    return found


@pytest.mark.parametrize(
    ("width", "expected"), [(16, 16), (19.2, 24), (28.8, 32), (134.4, 136), (3, 8), (11.9, 16), (12, 16), (10, 16)]
)
def test_make_divisible_by_hand(width: float, expected: int) -> None:
    assert make_divisible(width) == expected


def test_each_layer_reads_the_one_before_it_unless_told() -> None:
    found = builder()
    found.append("c", "conv", 4, inputs=("a",))
    assert [layer.inputs for layer in found.layers] == [(IMAGES,), ("a",), ("a",)]
    assert [layer.in_channels for layer in found.layers] == [3, 8, 8]
    assert found.last == "c"
    assert found.shape("c") == (4, 16, 16)
    assert "c" in found
    assert "d" not in found


def test_a_stated_layer_has_a_batch_norm_if_it_is_a_convolution() -> None:
    found = builder()
    found.append_spec("c", LayerSpec(kind="depthwise", kernel_size=3, stride=2, activation="relu"))
    found.append_spec("d", LayerSpec(kind="resize"))
    depthwise, resize = found.layers[2:]
    assert (depthwise.batch_norm, depthwise.activation, depthwise.output_shape) == (True, "relu", (12, 4, 4))
    assert (resize.batch_norm, resize.activation, resize.output_shape) == (False, "none", (12, 8, 8))


def test_resize_concat_and_add_by_hand() -> None:
    found = builder()
    found.append("up", "resize")
    assert found.shape("up") == (12, 16, 16)
    found.append("joined", "concat", inputs=("up", "a", "a"))
    assert found.shape("joined") == (12 + 8 + 8, 16, 16)
    found.append("c", "conv", 8)
    found.append("sum", "add", inputs=("c", "a"))
    assert found.shape("sum") == (8, 16, 16)


@pytest.mark.parametrize("kind", ["add", "concat"])
def test_sizes_that_do_not_match_tell_to_choose_other_resolutions(kind: str) -> None:
    found = builder(30)
    found.append("up", "resize")
    with pytest.raises(
        ValueError,
        match=r"inputs of one size in 'c', found up 12x16x16, a 8x15x15 .* at 30 px; a neck that resizes needs "
        "resolutions that its largest stride divides",
    ):
        found.append("c", kind, inputs=("up", "a"))


def test_an_add_of_other_channels_is_refused() -> None:
    found = builder()
    found.append("up", "resize")
    with pytest.raises(ValueError, match="found up 12x16x16, a 8x16x16"):
        found.append("c", "add", inputs=("up", "a"))


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="one layer of each name, found 'a' twice"):
        builder().append("a", "pool")


def test_shared_weights_are_counted_once_and_in_full_in_the_file() -> None:
    found = builder()
    found.append("first", "conv", 12, kernel_size=3, batch_norm=True)
    found.append("second", "conv", 12, kernel_size=3, batch_norm=True, weights_of="first")
    plan = LayerPlan(resolution=32, layers=found.layers[2:])
    weights = 12 * 12 * 9
    assert plan.parameters == weights + 2 * 12 + 2 * 12
    assert plan.macs == 2 * weights * 8 * 8
    assert plan.folded().parameters == 2 * (weights + 12)
    assert plan.folded().macs == plan.macs


@pytest.mark.parametrize(
    ("kind", "inputs", "width", "kernel_size"),
    [("conv", "a", 12, 3), ("conv", "b", 16, 3), ("conv", "b", 12, 1), ("depthwise", "b", 12, 3)],
)
def test_shared_weights_have_one_shape(kind: str, inputs: str, width: int, kernel_size: int) -> None:
    found = builder()
    found.append("first", "conv", 12, kernel_size=3)
    with pytest.raises(ValueError, match="'second' to be of the shape of 'first', whose weights it uses"):
        found.append("second", kind, width, inputs=(inputs,), kernel_size=kernel_size, weights_of="first")


def test_features_are_given_up_behind_the_layer_that_reads_them_last() -> None:
    found = builder()
    found.append("gone", "pool")
    found.append("c", "conv", 8, inputs=("b",))
    found.append("up", "resize")
    found.append("out", "add", inputs=("up", "a"))
    found.append("other", "conv", 4, inputs=("a",))
    plan = LayerPlan(resolution=32, layers=found.layers, box_outputs=("out",), score_outputs=("other",))
    assert plan.last_reads == ((IMAGES,), (), ("gone",), ("b",), ("c",), ("up",), ("a",))


def test_inverted_block_by_hand() -> None:
    found = builder()
    found.residual_block("x", 12, kernel_size=5, stride=1, expanded=48, activation="hswish", squeezed=16)
    layers = {layer.name: layer for layer in found.layers[2:]}
    assert {name: (layer.in_channels, layer.out_channels) for name, layer in layers.items()} == {
        "x.expand": (12, 48),
        "x.depthwise": (48, 48),
        "x.pool": (48, 48),
        "x.squeeze": (48, 16),
        "x.excite": (16, 48),
        "x.gate": (48, 48),
        "x.project": (48, 12),
        "x.add": (12, 12),
    }
    assert layers["x.gate"].inputs == ("x.depthwise", "x.excite")
    assert layers["x.add"].inputs == ("x.project", "b")
    assert layers["x.depthwise"].kernel_size == 5
    assert [layers[f"x.{part}"].activation for part in ("expand", "depthwise", "squeeze", "excite", "project")] == [
        *("hswish", "hswish"),
        *("relu", "hsigmoid"),
        "none",
    ]


def test_fused_block_by_hand() -> None:
    found = builder()
    found.residual_block("x", 12, kernel_size=3, stride=2, expanded=48, activation="relu", kind="fused")
    dense, project = found.layers[2:]
    assert (dense.name, dense.kind, dense.stride, dense.kernel_size) == ("x.fused", "conv", 2, 3)
    assert dense.macs == 12 * 48 * 9 * 4 * 4
    assert (project.name, project.output_shape) == ("x.project", (12, 4, 4))
    found.residual_block("y", 12, kernel_size=3, stride=1, expanded=48, activation="relu", kind="fused")
    assert found.last == "y.add"


def test_padding_holds_until_it_is_changed() -> None:
    found = PlanBuilder(32, padding="symmetric")
    found.append("a", "conv", 8, kernel_size=3, stride=2)
    found.padding = "same"
    found.append("b", "conv", 8, kernel_size=3, stride=2)
    assert [layer.margins[0] for layer in found.layers] == [(1, 1), (0, 1)]


def test_an_epsilon_holds_for_batch_norms_until_it_is_changed() -> None:
    found = PlanBuilder(32)
    found.batch_norm_epsilon = 1e-3
    found.append("a", "conv", 8, batch_norm=True)
    found.append("b", "conv", 8)
    found.batch_norm_epsilon = 1e-4
    found.append("c", "conv", 8, batch_norm=True)
    plan = LayerPlan(resolution=32, layers=found.layers)
    assert [layer.batch_norm_epsilon for layer in plan.layers] == [1e-3, 1e-5, 1e-4]
    assert {layer.batch_norm_epsilon for layer in plan.folded().layers} == {1e-5}
