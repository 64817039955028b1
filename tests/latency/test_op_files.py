import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from latency_plans import small_detector

from ofa_det.arch.description import PostProcessConfig
from ofa_det.latency.features import network_features
from ofa_det.latency.model import latency_model
from ofa_det.latency.op_extraction import extract_ops
from ofa_det.latency.op_files import detector_file
from ofa_det.latency.postprocessing import detection_tail
from ofa_det.latency.postprocessing_timing import op_file
from ofa_det.latency.tflite_file import parse_tflite


def _run(content):
    interpreter = Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        value = (
            rng.uniform(-100, 100, detail["shape"])
            if detail["dtype"] != np.float32
            else rng.normal(size=detail["shape"])
        )
        interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
    interpreter.invoke()
    return interpreter


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_a_plan_as_a_file_runs_and_is_read_as_the_plan(precision):
    plan, config = small_detector(), PostProcessConfig(max_detections=7)
    content = detector_file(plan, config, precision=precision)
    network = parse_tflite(content, where="the file")
    assert (network.precision, network.macs, network.uncounted_ops) == (precision, plan.macs, {})
    assert network_features(network.layers) == pytest.approx(network_features(plan.layers))
    model, tail = latency_model(precision=precision), detection_tail(plan, config, precision=precision)
    read, planned = model.predict(network.layers, network.tail), model.predict(plan.layers, tail)
    assert read.mean_ms == pytest.approx(planned.mean_ms, rel=1e-9)
    assert read.error_ms == pytest.approx(planned.error_ms, rel=1e-9)
    interpreter = _run(content)
    outputs = interpreter.get_output_details()
    assert [tuple(output["shape"]) for output in outputs] == [(1, 7, 4), (1, 7), (1, 7), (1,)]
    (image,) = interpreter.get_input_details()
    assert image["dtype"] == (np.uint8 if precision == "uint8" else np.float32)
    assert detector_file(plan, config, precision=precision) == content


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_each_op_alone_computes_what_it_does_in_the_whole(precision):
    content = detector_file(small_detector(), PostProcessConfig(max_detections=7), precision=precision)
    whole = _run(content)
    by_name = {detail["name"]: detail["index"] for detail in whole.get_tensor_details()}
    ops = list(extract_ops(content))
    assert [op.index for op in ops] == list(range(len(ops)))
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "HARD_SWISH", "PAD", "TFLite_Detection_PostProcess"} <= {
        op.kind for op in ops
    }
    for op in ops:
        alone = Interpreter(model_content=op.content)
        alone.allocate_tensors()
        for detail, tensor in zip(alone.get_input_details(), op.inputs, strict=True):
            alone.set_tensor(detail["index"], whole.get_tensor(tensor))
        alone.invoke()
        result = alone.get_tensor(alone.get_output_details()[0]["index"])
        expected = whole.get_tensor(by_name[op.output])
        # Kernels may differ: a delegate runs the op alone.
        tolerance = 1e-4 * max(1.0, float(np.abs(expected).max())) if result.dtype == np.float32 else 1
        assert np.abs(result.astype(np.float64) - expected.astype(np.float64)).max() <= tolerance


@pytest.mark.parametrize("kind", ["reshape", "concat", "quantize", "dequantize", "sigmoid"])
def test_ops_over_lists_run_alone(kind):
    (output,) = _run(op_file(kind, (1, 10, 4))).get_output_details()
    assert np.prod(output["shape"]) == 40
    (op,) = parse_tflite(op_file(kind, (1, 10, 4)), where="the file").tail.ops
    assert (op.kind, op.elements) == (kind, 40)
