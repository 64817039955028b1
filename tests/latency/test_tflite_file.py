from importlib.util import find_spec
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.layer_plan import detector_plan
from ofa_det.arch.search_space import SearchSpace
from ofa_det.latency.model import pixel2_model
from ofa_det.latency.tflite_file import read_tflite

RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


class GraphWriter:
    """Writes graphs by hand: the structure matters here, not the weights."""

    def __init__(self, dtype=schema.TensorType.INT8):
        self.model, self.graph, self.dtype = schema.ModelT(), schema.SubGraphT(), dtype
        self.model.version, self.model.subgraphs, self.model.operatorCodes = 3, [self.graph], []
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []

    def tensor(self, shape, name="constant"):
        tensor = schema.TensorT()
        tensor.shape, tensor.name, tensor.type = list(shape), name, self.dtype
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def image(self, *shape):
        self.graph.inputs.append(self.tensor(shape, "images"))
        return self.graph.inputs[-1]

    def op(self, code, inputs, shape, name, options=None, options_type=0, custom=None):
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.customCode = getattr(schema.BuiltinOperator, code), custom
        entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
        self.model.operatorCodes.append(entry)
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs = len(self.model.operatorCodes) - 1, inputs
        op.outputs = [self.tensor(shape, name)]
        op.builtinOptions, op.builtinOptionsType = options, options_type
        self.graph.operators.append(op)
        return op.outputs[0]

    def conv(self, source, kernel, shape, name, *, stride=1, padding=SAME, activation=0, depthwise=False):
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.padding, options.fusedActivationFunction = padding, activation
        kinds = schema.BuiltinOptions
        return self.op(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [source, self.tensor(kernel), self.tensor((shape[-1],))],
            shape,
            name,
            options,
            kinds.DepthwiseConv2DOptions if depthwise else kinds.Conv2DOptions,
        )

    def save(self, path):
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def _gated_network(dtype=schema.TensorType.INT8):
    graph = GraphWriter(dtype)
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


def test_layers_activations_and_precision_are_read(tmp_path):
    network = read_tflite(_gated_network().save(tmp_path / "a.tflite"))
    stem, depthwise, pool, excite, gate, project = network.layers
    assert (stem.kind, stem.activation, stem.out_height, stem.macs) == ("conv", "hswish", 5, 25 * 8 * 27)
    assert (depthwise.kind, depthwise.kernel_size, depthwise.activation) == ("depthwise", 5, "relu")
    assert depthwise.macs == 25 * 8 * 25
    assert pool.kind == "pool"
    assert (excite.activation, excite.weight_count) == ("hsigmoid", 64)
    assert (gate.kind, gate.in_channels, gate.in_height) == ("multiply", 8, 5)
    assert project.inputs == ("gate",)
    assert network.precision == "uint8"
    assert network.uncounted_ops == {"QUANTIZE": 1, "RESHAPE": 1, "DEQUANTIZE": 1, "TFLite_Detection_PostProcess": 1}


def test_float_activations_make_a_float_network(tmp_path):
    path = _gated_network(schema.TensorType.FLOAT32).save(tmp_path / "a.tflite")
    assert read_tflite(path).precision == "float32"


def test_valid_padding_and_fully_connected_have_exact_macs(tmp_path):
    graph = GraphWriter()
    x = graph.conv(graph.image(1, 10, 10, 3), (8, 3, 3, 3), (1, 4, 4, 8), "conv", stride=2, padding=VALID)
    graph.op("FULLY_CONNECTED", [x, graph.tensor((10, 128))], (1, 10), "logits")
    conv, linear = read_tflite(graph.save(tmp_path / "a.tflite")).layers
    assert conv.macs == 4 * 4 * 8 * 27
    assert (linear.kind, linear.macs) == ("fully_connected", 1280)


def test_a_sigmoid_far_from_a_convolution_is_a_pass_over_its_elements(tmp_path):
    graph = GraphWriter()
    x = graph.op("RESHAPE", [graph.image(1, 2, 2, 6), graph.tensor((2,))], (1, 8, 3), "logits")
    graph.op("LOGISTIC", [x], (1, 8, 3), "scores")
    (scores,) = read_tflite(graph.save(tmp_path / "a.tflite")).layers
    assert (scores.in_channels, scores.in_height, scores.in_width) == (3, 8, 1)


def test_what_a_layer_cannot_say_is_refused(tmp_path):
    oblong, batch = GraphWriter(), GraphWriter()
    oblong.conv(oblong.image(1, 8, 8, 3), (8, 1, 7, 3), (1, 8, 8, 8), "oblong")
    with pytest.raises(ValueError, match=r"expected a square kernel .* found 1x7 in oblong"):
        read_tflite(oblong.save(tmp_path / "a.tflite"))
    batch.conv(batch.image(2, 8, 8, 3), (8, 1, 1, 3), (2, 8, 8, 8), "batch")
    with pytest.raises(ValueError, match="expected batch 1"):
        read_tflite(batch.save(tmp_path / "b.tflite"))


def test_broken_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tflite(tmp_path / "none.tflite")
    other = tmp_path / "a.tflite"
    other.write_text("weights")
    with pytest.raises(ValueError, match="no TFL3 identifier"):
        read_tflite(other)
    whole = _gated_network().save(tmp_path / "b.tflite").read_bytes()
    rng = np.random.default_rng(0)
    for length in rng.integers(8, len(whole) // 2, 20):
        other.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="whole TFLite flatbuffer"):
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
    # Its authors' sample latencies of the quantized detector on a Pixel 2: 59 to 95 ms.
    assert 59 < pixel2_model().predict(network.layers).mean_ms < 97


@pytest.mark.tflite
@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_an_exported_file_has_the_latency_of_its_plan(precision, tmp_path):
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    from ofa_det.export.conversion import convert_float32, convert_int8
    from ofa_det.export.keras_mirror import keras_mirror
    from ofa_det.export.mirror_weights import ConvolutionWeights

    plan = detector_plan(DetectorConfig(num_classes=3), SearchSpace().smallest(128))
    rng = np.random.default_rng(0)
    weights = {}
    for layer in plan.layers:
        if layer.has_weights:
            shape = (layer.kernel_size, layer.kernel_size, *_channels(layer))
            kernel = rng.normal(0, (layer.out_channels / layer.weight_count) ** 0.5, shape).astype(np.float32)
            weights[layer.name] = ConvolutionWeights(kernel=kernel, bias=np.zeros(layer.out_channels, np.float32))
    mirror = keras_mirror(plan, weights)
    images = [rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)]
    path = tmp_path / "model.tflite"
    path.write_bytes(convert_float32(mirror) if precision == "float32" else convert_int8(mirror, images))

    network = read_tflite(path)
    assert network.precision == precision
    assert network.macs == plan.macs
    model = pixel2_model(precision)
    assert model.predict(network.layers).mean_ms == pytest.approx(model.predict(plan.layers).mean_ms, rel=0.02)


def _channels(layer):
    return (layer.out_channels, 1) if layer.kind == "depthwise" else (layer.in_channels, layer.out_channels)
