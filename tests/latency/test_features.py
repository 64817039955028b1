import pytest

from ofa_det.arch.layers import Layer, Shape
from ofa_det.arch.plan import PlanBuilder
from ofa_det.latency.features import FEATURES, layer_features, network_features


def _layers():
    builder = PlanBuilder(8)
    builder.append("stem", "conv", 16, kernel_size=3, stride=2, activation="relu6")
    builder.append("expand", "conv", 32, activation="hswish")
    builder.append("depthwise", "depthwise", kernel_size=5, stride=2, activation="relu")
    builder.squeeze_excite("gate", 8)
    builder.append("add", "add", inputs=("gate.gate", "depthwise"))
    builder.append("up", "resize")
    builder.append("concat", "concat", inputs=("up", "stem"))
    return {layer.name: layer for layer in builder.layers}


def _nonzero(layer):
    return {name: value for name, value in zip(FEATURES, layer_features(layer), strict=True) if value}


def test_features_counted_by_hand():
    layers = _layers()
    assert _nonzero(layers["stem"]) == {"convolution_mmacs": pytest.approx(4 * 4 * 16 * 3 * 9 / 1e6), "ops": 1}
    assert _nonzero(layers["expand"]) == {
        "pointwise_mmacs": pytest.approx(4 * 4 * 16 * 32 / 1e6),
        "pointwise_melements": pytest.approx(4 * 4 * (16 + 32) / 1e6),
        "hswish_melements": pytest.approx(4 * 4 * 32 / 1e6),  # an op of its own
        "ops": 2,
    }
    assert _nonzero(layers["depthwise"]) == {
        "depthwise5_mmacs": pytest.approx(2 * 2 * 32 * 25 / 1e6),
        "depthwise_melements": pytest.approx((16 + 4) * 32 / 1e6),
        "ops": 1,
    }
    assert _nonzero(layers["gate.pool"]) == {"elementwise_melements": pytest.approx(4 * 32 / 1e6), "ops": 1}
    assert _nonzero(layers["gate.squeeze"]) == {"vector_mweights": pytest.approx(32 * 8 / 1e6), "ops": 1}
    assert _nonzero(layers["add"]) == {"elementwise_melements": pytest.approx(4 * 32 / 1e6), "ops": 1}


@pytest.mark.parametrize(("kernel_size", "counted_as"), [(1, 3), (3, 3), (5, 5), (7, 7), (9, 7)])
def test_depthwise_kernels_are_told_apart(kernel_size, counted_as):
    builder = PlanBuilder(8)
    builder.append("depthwise", "depthwise", kernel_size=kernel_size)
    found = [name for name in _nonzero(builder.layers[0]) if name.endswith("mmacs")]
    assert found == [f"depthwise{counted_as}_mmacs"]


@pytest.mark.parametrize(("kernel_size", "counted_as"), [(2, 3), (4, 5), (6, 7), (8, 7)])
def test_even_depthwise_kernels_of_foreign_files_are_counted(kernel_size, counted_as):
    shape = Shape(16, 8, 8)
    layer = Layer(
        name="x", kind="depthwise", inputs=("images",), input_shapes=(shape,), out_channels=16, kernel_size=kernel_size
    )
    assert _nonzero(layer)[f"depthwise{counted_as}_mmacs"] == pytest.approx(layer.macs / 1e6)


def test_what_grows_a_map_costs_by_the_elements_it_writes():
    layers = _layers()
    assert _nonzero(layers["up"]) == {"elementwise_melements": pytest.approx(16 * 32 / 1e6), "ops": 1}
    assert _nonzero(layers["concat"]) == {"elementwise_melements": pytest.approx(16 * (32 + 16) / 1e6), "ops": 1}


@pytest.mark.parametrize(("side", "stride", "padded"), [(8, 2, 10 * 10 * 3), (7, 2, 0), (8, 1, 0)])
def test_zeros_that_same_padding_has_elsewhere_are_an_op_of_their_own(side, stride, padded):
    difference = {}
    for padding in ("same", "symmetric"):
        builder = PlanBuilder(side, padding=padding)
        builder.append("conv", "conv", 16, kernel_size=3, stride=stride, activation="hswish")
        difference[padding] = _nonzero(builder.layers[0])
    extra = {name: value - difference["same"].get(name, 0) for name, value in difference["symmetric"].items()}
    assert {name: value for name, value in extra.items() if value} == (
        {"elementwise_melements": pytest.approx(padded / 1e6), "ops": 1} if padded else {}
    )


def test_a_network_is_the_sum_of_its_layers():
    layers = _layers().values()
    assert network_features(layers) == pytest.approx(sum(layer_features(layer) for layer in layers))
    assert network_features([]) == pytest.approx([0.0] * len(FEATURES))
