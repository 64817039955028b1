import pytest

from ofa_det.arch.layers import Layer, LayerKind, LayerSpec, Padding, Shape


def layer(kind: LayerKind, out_channels: int = 16, **changes: object) -> Layer:
    values = {"name": "x", "inputs": ("a",), "input_shapes": (Shape(16, 15, 9),)}
    return Layer(kind=kind, out_channels=out_channels, **(values | changes))


def test_macs_and_parameters_of_a_convolution_by_hand() -> None:
    conv = layer("conv", 24, kernel_size=3, stride=2, batch_norm=True)
    assert conv.output_shape == (24, 8, 5)
    assert conv.weight_count == 24 * 16 * 9
    assert conv.macs == 24 * 16 * 9 * 8 * 5
    assert conv.parameters == 24 * 16 * 9 + 2 * 24
    assert layer("conv", 24).parameters == 24 * 16 + 24


def test_macs_and_parameters_of_a_depthwise_convolution_by_hand() -> None:
    depthwise = layer("depthwise", kernel_size=5, batch_norm=True)
    assert depthwise.groups == 16
    assert depthwise.macs == 16 * 25 * 15 * 9
    assert depthwise.parameters == 16 * 25 + 2 * 16


def test_a_layer_with_the_weights_of_another_has_only_its_batch_norm() -> None:
    normed = layer("conv", 24, kernel_size=3, batch_norm=True, weights_of="y")
    assert normed.parameters == 2 * 24
    assert normed.macs == 24 * 16 * 9 * 15 * 9
    assert layer("conv", 24, weights_of="y").parameters == 0


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("pool", (16, 1, 1)),
        ("multiply", (16, 15, 9)),
        ("add", (16, 15, 9)),
        ("concat", (16, 15, 9)),
        ("resize", (16, 30, 18)),
    ],
)
def test_other_layers_have_no_weights(kind: LayerKind, shape: tuple[int, int, int]) -> None:
    other = layer(kind)
    assert (other.macs, other.parameters) == (0, 0)
    assert other.output_shape == shape


@pytest.mark.parametrize(
    ("padding", "kernel_size", "stride", "size", "margin"),
    [
        ("same", 3, 2, 10, (0, 1)),
        ("same", 3, 2, 9, (1, 1)),
        ("same", 5, 2, 10, (1, 2)),
        ("same", 7, 1, 10, (3, 3)),
        ("same", 1, 2, 10, (0, 0)),
        ("symmetric", 3, 2, 10, (1, 1)),
        ("symmetric", 3, 2, 9, (1, 1)),
        ("symmetric", 5, 2, 10, (2, 2)),
        ("symmetric", 7, 1, 10, (3, 3)),
        ("symmetric", 1, 2, 10, (0, 0)),
    ],
)
def test_margins_by_hand(padding: Padding, kernel_size: int, stride: int, size: int, margin: tuple[int, int]) -> None:
    shapes = (Shape(16, size, 4),)
    conv = layer("depthwise", kernel_size=kernel_size, stride=stride, padding=padding, input_shapes=shapes)
    assert conv.margins[0] == margin
    assert conv.output_shape.height == (size + sum(margin) - kernel_size) // stride + 1


def test_activation_is_relu6_behind_a_convolution_unless_told() -> None:
    assert LayerSpec(width=8).activated == "relu6"
    assert LayerSpec(kind="depthwise").activated == "relu6"
    assert LayerSpec(kind="add").activated == "none"
    assert LayerSpec(width=8, activation="none").activated == "none"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "conv"}, "a width of a conv and of nothing else, found None"),
        ({"kind": "depthwise", "width": 8}, "found 8 of a depthwise"),
        ({"width": 8, "kernel_size": 2}, "odd kernel_size"),
        ({"width": 0}, "width and stride >= 1"),
        ({"width": 8, "stride": 0}, "width and stride >= 1"),
        ({"kind": "resize", "stride": 2}, "found them of a resize"),
        ({"kind": "add", "kernel_size": 3}, "found them of a add"),
    ],
)
def test_broken_specs_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LayerSpec(**values)
