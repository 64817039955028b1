from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from ofa_det.arch.plan import PlanBuilder
from ofa_det.latency.features import FEATURES, network_features
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import parse_tflite, read_tflite

RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6
VALID = schema.Padding.VALID


def _gated_network(graph):
    x = graph.op("QUANTIZE", [graph.image(1, 9, 9, 3)], (1, 9, 9, 3), "quantized")
    x = graph.conv(x, (8, 3, 3, 3), (1, 5, 5, 8), "stem", stride=2)
    x = graph.op("HARD_SWISH", [x], (1, 5, 5, 8), "stem_hswish")
    x = features = graph.conv(x, (1, 5, 5, 8), (1, 5, 5, 8), "depthwise", activation=RELU, depthwise=True)
    x = graph.op("MEAN", [x, graph.tensor((2,))], (1, 1, 1, 8), "pool")
    x = graph.conv(x, (8, 1, 1, 8), (1, 1, 1, 8), "excite", activation=RELU6)
    x = graph.op("MUL", [x, graph.tensor(())], (1, 1, 1, 8), "hsigmoid")
    x = graph.op("MUL", [x, features], (1, 5, 5, 8), "gate")
    x = graph.conv(x, (4, 1, 1, 8), (1, 5, 5, 4), "project")
    x = graph.op("RESHAPE", [x, graph.tensor((2,))], (1, 25, 4), "boxes")
    x = graph.op("DEQUANTIZE", [x], (1, 25, 4), "float_boxes")
    graph.op("CUSTOM", [x, graph.tensor((25, 4))], (), "detections", custom=b"TFLite_Detection_PostProcess")
    return graph


def test_layers_activations_and_precision_are_read(new_graph, tmp_path):
    network = read_tflite(_gated_network(new_graph()).save(tmp_path / "a.tflite"))
    stem, depthwise, pool, excite, gate, project = network.layers
    assert (stem.kind, stem.activation, stem.output_shape, stem.macs) == ("conv", "hswish", (8, 5, 5), 25 * 8 * 27)
    assert (depthwise.kind, depthwise.kernel_size, depthwise.activation) == ("depthwise", 5, "relu")
    assert depthwise.macs == 25 * 8 * 25
    assert pool.kind == "pool"
    assert (excite.activation, excite.weight_count) == ("hsigmoid", 64)
    assert (gate.kind, gate.inputs) == ("multiply", ("depthwise", "hsigmoid"))
    assert gate.input_shapes == ((8, 5, 5), (8, 1, 1))
    assert project.inputs == ("gate",)
    assert network.precision == "uint8"
    assert network.uncounted_ops == {}
    assert [(op.kind, op.elements) for op in network.tail.ops] == [
        ("quantize", 9 * 9 * 3),
        ("reshape", 100),
        ("dequantize", 100),
    ]
    assert network.tail.suppression.anchors == 25
    # QUANTIZE; stem and its hswish; depthwise; pool; excite and its hsigmoid; gate; project; RESHAPE, DEQUANTIZE, op.
    assert network.layer_of_op == (None, 0, 0, 1, 2, 3, 3, 4, 5, None, None, None)


def test_float_activations_make_a_float_network(new_graph, tmp_path):
    path = _gated_network(new_graph(schema.TensorType.FLOAT32)).save(tmp_path / "a.tflite")
    assert read_tflite(path).precision == "float32"


def test_valid_padding_and_fully_connected_have_exact_macs(new_graph, tmp_path):
    graph = new_graph()
    x = graph.conv(graph.image(1, 10, 10, 3), (8, 3, 3, 3), (1, 4, 4, 8), "conv", stride=2, padding=VALID)
    graph.op("FULLY_CONNECTED", [x, graph.tensor((10, 128))], (1, 10), "logits")
    conv, linear = read_tflite(graph.save(tmp_path / "a.tflite")).layers
    assert conv.macs == 4 * 4 * 8 * 27
    assert (linear.kind, linear.macs) == ("fully_connected", 1280)


def test_a_pyramid_is_read_as_its_plan_has_it(new_graph, tmp_path):
    builder = PlanBuilder(16)
    fine = builder.append("fine", "conv", 8, kernel_size=3, stride=2)
    builder.append("coarse", "conv", 16, kernel_size=3, stride=2)
    builder.append("up", "resize")
    builder.append("joined", "concat", inputs=("up", fine))

    graph = new_graph()
    fine = graph.conv(graph.image(1, 16, 16, 3), (8, 3, 3, 3), (1, 8, 8, 8), "fine", stride=2)
    x = graph.conv(fine, (16, 3, 3, 8), (1, 4, 4, 16), "coarse", stride=2)
    x = graph.op("RESIZE_NEAREST_NEIGHBOR", [x, graph.tensor((2,))], (1, 8, 8, 16), "up")
    graph.concat([x, fine], (1, 8, 8, 24), "joined", axis=3)
    network = read_tflite(graph.save(tmp_path / "a.tflite"))
    assert network.layers == tuple(
        replace(layer, inputs=("images",)) if layer.name == "fine" else layer for layer in builder.layers
    )
    assert network.uncounted_ops == {}


def test_a_resize_by_another_factor_is_a_pass_over_what_it_writes(new_graph, tmp_path):
    graph = new_graph()
    graph.op("RESIZE_BILINEAR", [graph.image(1, 4, 4, 8), graph.tensor((2,))], (1, 12, 12, 8), "up")
    network = read_tflite(graph.save(tmp_path / "a.tflite"))
    assert network_features(network.layers)[FEATURES.index("elementwise_melements")] == pytest.approx(12 * 12 * 8 / 1e6)


@pytest.mark.parametrize(
    ("shapes", "axis", "counted"),
    [
        ([(1, 4, 4, 8), (1, 4, 4, 16)], -1, True),
        ([(1, 16, 4), (1, 4, 4)], 1, False),  # the boxes of two levels
        ([(1, 16, 1, 4), (1, 4, 1, 4)], 1, False),  # the same in the TF detection models
        ([(1, 16, 4), (1, 16, 4)], 2, False),
    ],
)
def test_only_a_concatenation_of_channels_counts(shapes, axis, counted, new_graph, tmp_path):
    graph = new_graph()
    joined = list(shapes[0])
    joined[axis] = sum(shape[axis] for shape in shapes)
    graph.concat([graph.image(*shape) for shape in shapes], joined, "joined", axis)
    network = read_tflite(graph.save(tmp_path / "a.tflite"))
    if counted:
        (layer,) = network.layers
        assert (layer.kind, layer.output_shape) == ("concat", (24, 4, 4))
    else:
        assert network.layers == ()
        assert [(op.kind, op.elements) for op in network.tail.ops] == [("concat", prod(joined))]
    assert network.uncounted_ops == {}


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_pad_before_a_convolution_costs_what_symmetric_padding_costs(depthwise, new_graph, tmp_path):
    builder = PlanBuilder(16, padding="symmetric")
    builder.append("conv", "depthwise" if depthwise else "conv", 3, kernel_size=3, stride=2)
    graph = new_graph()
    padded = graph.op("PAD", [graph.image(1, 16, 16, 3), graph.tensor((4, 2))], (1, 18, 18, 3), "padded")
    kernel = (1, 3, 3, 3) if depthwise else (3, 3, 3, 3)
    graph.conv(padded, kernel, (1, 8, 8, 3), "conv", stride=2, padding=VALID, depthwise=depthwise)
    network = read_tflite(graph.save(tmp_path / "a.tflite"))
    assert network_features(network.layers) == pytest.approx(network_features(builder.layers))


def test_the_sigmoid_of_the_scores_is_post_processing(new_graph, tmp_path):
    graph = new_graph()
    x = graph.op("RESHAPE", [graph.image(1, 2, 2, 6), graph.tensor((2,))], (1, 8, 3), "logits")
    graph.op("LOGISTIC", [x], (1, 8, 3), "scores")
    network = read_tflite(graph.save(tmp_path / "a.tflite"))
    assert network.layers == ()
    assert [(op.name, op.kind, op.elements) for op in network.tail.ops] == [
        ("logits", "reshape", 24),
        ("scores", "sigmoid", 24),
    ]
    assert network.tail.suppression is None


def test_what_has_no_cost_is_told(new_graph, tmp_path):
    graph = new_graph()
    graph.op("GELU", [graph.image(1, 2, 2, 6)], (1, 2, 2, 6), "activated")
    assert read_tflite(graph.save(tmp_path / "a.tflite")).uncounted_ops == {"GELU": 1}


def test_what_a_layer_cannot_say_is_refused(new_graph, tmp_path):
    oblong, batch = new_graph(), new_graph()
    oblong.conv(oblong.image(1, 8, 8, 3), (8, 1, 7, 3), (1, 8, 8, 8), "oblong")
    with pytest.raises(ValueError, match=r"expected a square kernel .* found 1x7 in oblong"):
        read_tflite(oblong.save(tmp_path / "a.tflite"))
    batch.conv(batch.image(2, 8, 8, 3), (8, 1, 1, 3), (2, 8, 8, 8), "batch")
    with pytest.raises(ValueError, match="expected batch 1"):
        read_tflite(batch.save(tmp_path / "b.tflite"))


def test_broken_files_are_refused(new_graph, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tflite(tmp_path / "none.tflite")
    other = tmp_path / "a.tflite"
    other.write_text("weights")
    with pytest.raises(ValueError, match="no TFL3 identifier"):
        read_tflite(other)
    whole = _gated_network(new_graph()).save(tmp_path / "b.tflite").read_bytes()
    rng = np.random.default_rng(0)
    for length in rng.integers(8, len(whole) // 2, 20):
        other.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="whole TFLite model"):
            read_tflite(other)


def test_published_quantized_detector():
    path = Path(__file__).parents[2] / "../shared/peers/coco_ssd_mobilenet_v1_quant.tflite"
    if not path.is_file():
        pytest.skip("no peer model beside the checkout")
    network = read_tflite(path)
    assert network.macs == 728_036_496  # the same sum over the interpreter's own op details
    assert network.precision == "uint8"
    # 8-bit weights and 32-bit biases are nearly all of the file.
    assert sum(layer.parameters for layer in network.layers) == pytest.approx(path.stat().st_size, rel=0.03)
    suppression = network.tail.suppression
    assert (suppression.anchors, suppression.classes, suppression.regular_nms) == (1917, 91, False)
    assert (suppression.max_detections, suppression.detections_per_class) == (10, 100)
    assert suppression.candidates == 1917 * 91  # Its threshold of 1e-8 keeps nearly all.
    assert network.uncounted_ops == {}
    # Its authors' sample latencies of the quantized detector on a Pixel 2: 59 to 95 ms.
    prediction = latency_model().predict(network.layers, network.tail)
    assert 59 < prediction.mean_ms < 97
    assert 1 < prediction.postprocessing_ms < 6


@pytest.mark.tflite
@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_a_converted_file_has_the_latency_of_its_plan(precision, tmp_path):
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    builder = PlanBuilder(64, padding="symmetric")
    builder.append("stem", "conv", 16, kernel_size=3, stride=2, activation="hswish")
    builder.append("fine", "depthwise", kernel_size=3, activation="relu6")
    builder.append("down", "depthwise", kernel_size=5, stride=2, activation="relu6")
    builder.squeeze_excite("gate", 8)
    builder.append("up", "resize")
    builder.append("joined", "concat", inputs=("up", "fine"))
    builder.append("out", "conv", 24)
    rng = np.random.default_rng(0)
    applied = {
        "pool": lambda x: tf.reduce_mean(x, (1, 2), keepdims=True),
        "multiply": lambda x, gate: x * gate,
        "resize": lambda x: tf.image.resize(x, (32, 32), "nearest"),
        "concat": lambda *maps: tf.concat(maps, -1),
    }
    activated = {
        "none": tf.identity,
        "relu": tf.nn.relu,
        "relu6": tf.nn.relu6,
        "hswish": lambda x: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
        "hsigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
    }

    def convolved(layer, x):
        is_depthwise = layer.kind == "depthwise"
        channels = (layer.in_channels, 1 if is_depthwise else layer.out_channels)
        weights = rng.normal(size=(layer.kernel_size, layer.kernel_size, *channels)).astype(np.float32)
        padding = "SAME" if layer.stride == 1 else [[0, 0], *map(list, layer.margins), [0, 0]]
        convolve = tf.nn.depthwise_conv2d if is_depthwise else tf.nn.conv2d
        bias = rng.normal(size=layer.out_channels).astype(np.float32)
        return convolve(x, weights, [1, layer.stride, layer.stride, 1], padding) + bias

    @tf.function(input_signature=[tf.TensorSpec((1, 64, 64, 3))])
    def network(images):
        values = {"images": images}
        for layer in builder.layers:
            inputs = [values[name] for name in layer.inputs]
            value = convolved(layer, *inputs) if layer.has_weights else applied[layer.kind](*inputs)
            values[layer.name] = activated[layer.activation](value)
        return values["out"]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], tf.Module())
    if precision == "uint8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: [[rng.uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)]]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    path = tmp_path / "a.tflite"
    path.write_bytes(converter.convert())

    file = read_tflite(path)
    assert file.precision == precision
    assert file.macs == sum(layer.macs for layer in builder.layers)
    model = latency_model(precision=precision)
    found, expected = (model.predict(layers).mean_ms for layers in (file.layers, builder.layers))
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_cut_or_changed_files_raise_nothing_but_the_stated_error(new_graph, tmp_path, seed):
    """Every cut at a step of 16 bytes, and 300 files with a few bytes changed."""
    content = _gated_network(new_graph()).save(tmp_path / "a.tflite").read_bytes()
    rng = np.random.default_rng(seed)
    damaged = [content[:end] for end in range(seed, len(content), 48)]
    for _ in range(300):
        changed = np.frombuffer(content, np.uint8).copy()
        places = rng.integers(8, len(content), rng.integers(1, 6))
        changed[places] = rng.choice([0, 1, 127, 128, 255, rng.integers(0, 256)], len(places))
        damaged.append(changed.tobytes())
    refusals = []
    for number, bad in enumerate(damaged):
        try:
            parse_tflite(bad, where=f"file {number}")
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > len(damaged) // 10
    assert all(refusal.startswith("expected ") for refusal in refusals)
