"""What comes out of the TensorFlow converter, against torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from export.conversions import converted_file
from export.operators import expected_operators, operators
from flatbuffers import flexbuffers

from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.export.config import EndingConfig
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import parse_tflite

pytestmark = pytest.mark.tflite


@pytest.fixture(scope="module")
def float32(trained, images):
    return converted_file(trained, images, quantized=False)


@pytest.fixture(scope="module")
def int8(trained, images):
    return converted_file(trained, images, quantized=True)


def test_float32_network_equals_torch(float32):
    assert float32.verification["box_code_error"] < 1e-5
    assert float32.verification["score_error"] < 1e-5
    assert float32.quantization is None


def test_float32_file_detects_what_torch_detects(float32, trained, images, tmp_path):
    path = tmp_path / float32.file_name
    path.write_bytes(float32.content)

    found = TfliteDetector(path).predict(np.stack(images))
    wanted = TorchDetector(trained.network, trained.description).predict(np.stack(images))

    assert sum(map(len, wanted)) > 50
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_array_equal(ours.category_ids, theirs.category_ids)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-5)


def test_int8_input_takes_raw_bytes(int8, trained):
    interpreter = Interpreter(model_content=int8.content)
    (entry,) = interpreter.get_input_details()
    resolution = trained.network.subnet.resolution
    assert entry["dtype"] is np.uint8
    assert entry["quantization"] == (1 / 128, 128)
    assert entry["shape"].tolist() == [1, resolution, resolution, 3]
    assert entry["name"] == "normalized_input_image_tensor"


def test_int8_network_is_close_to_torch(int8):
    assert int8.verification["box_code_sqnr_db"] > 15
    assert int8.verification["score_sqnr_db"] > 15


def test_levels_have_their_own_box_ranges_and_can_all_be_sure(int8, trained):
    """Logits reach from below the threshold to at least a score of 0.95, whatever the images show on a level."""
    quantization = int8.quantization
    levels = len(trained.description.detector.space.levels)
    assert len({entry["scale"] for entry in quantization.box_codes}) == len(quantization.box_codes) == levels
    assert len(quantization.logits) == levels
    for entry in quantization.logits:
        low, high = (entry["scale"] * (end - entry["zero_point"]) for end in (-128, 127))
        assert low == pytest.approx(np.log(0.05 / 0.95) - 1, abs=entry["scale"])
        assert high >= np.log(0.95 / 0.05) - entry["scale"]


def test_the_worst_layers_are_named(int8, trained):
    names = {layer.name for layer in int8.plan.layers}
    assert {layer.name for layer in int8.layers} == names
    noises = [layer.sqnr_db for layer in int8.layers]
    assert noises == sorted(noises)
    assert noises[0] > 15
    assert [layer.name for layer in int8.quantization.worst_layers] == [layer.name for layer in int8.layers[:5]]


@pytest.mark.parametrize("format_", ["float32", "int8"])
def test_the_file_has_the_layers_of_the_plan(format_, trained, request):
    """Unused class columns among them. The latencies differ by the order of the sums alone."""
    converted = request.getfixturevalue(format_)
    plan = trained.description.shipped_plan(trained.network.subnet)
    own = trained.network.plan(trained.network.subnet)
    network = parse_tflite(converted.content, where="the file")
    assert converted.plan == plan
    assert (network.macs, sum(layer.parameters for layer in network.layers)) == (plan.macs, plan.parameters)
    assert plan.macs > own.macs
    assert network.precision == ("uint8" if format_ == "int8" else "float32")
    model = latency_model(precision=network.precision)
    assert model.predict(network.layers).mean_ms == pytest.approx(model.predict(plan.layers).mean_ms, rel=1e-6)


def test_a_file_of_another_plan_is_refused(float32, trained):
    from ofa_det.export.verification import check_plan

    check_plan(float32.content, float32.plan)
    with pytest.raises(ValueError, match=f"found {float32.plan.macs} and {float32.plan.parameters}"):
        check_plan(float32.content, trained.network.plan(trained.network.subnet).folded())


@pytest.mark.parametrize("format_", ["float32", "int8"])
def test_unused_classes_never_fire(format_, trained, request, tmp_path):
    converted = request.getfixturevalue(format_)
    assert converted.columns.has_unused
    assert converted.columns == trained.description.columns()
    assert converted.verification["unused_score"] < trained.description.postprocess.score_threshold
    path = tmp_path / converted.file_name
    path.write_bytes(converted.content)
    detector, known = TfliteDetector(path), {category.id for category in trained.description.categories}
    resolution = trained.network.subnet.resolution
    extremes = [np.full((resolution, resolution, 3), value, np.uint8) for value in (0, 128, 255)]
    for found in detector.predict(np.stack(extremes)):
        assert set(found.category_ids.tolist()) <= known


def test_unused_classes_do_not_stretch_the_logits_range(trained):
    """They are at its lower end, which is below the threshold."""
    from ofa_det.export.tflite_model import unused_logit
    from ofa_det.models.activation_ranges import silent_logit

    columns = trained.description.columns()
    assert unused_logit(columns, 0.05) == silent_logit(0.05) == pytest.approx(np.log(0.05 / 0.95) - 1)
    with pytest.raises(ValueError, match="expected a score_threshold > 0"):
        unused_logit(columns, 0.0)


def test_torch_computes_as_the_file_does(trained, images):
    """Box codes are within two steps of the file's but for few: roundings that go apart add up over 60 layers."""
    from ofa_det.export.converted import Recipe
    from ofa_det.export.tflite_model import make_tflite
    from ofa_det.models.activation_ranges import calibrated_ranges
    from ofa_det.models.fake_quantization import QuantizedDetector

    detector = trained.network
    ranges = calibrated_ranges(detector, images, rule="minmax", score_threshold=0.05)
    recipe = Recipe(format="tflite-int8-qat", trained_ranges=ranges, ending=EndingConfig(kind="raw"))
    converted = make_tflite(trained, recipe, [], images)
    interpreter = Interpreter(model_content=converted.content)
    interpreter.allocate_tensors()
    simulated = QuantizedDetector.of(detector, ranges)
    counts = zip(converted.plan.feature_sizes, converted.plan.anchors_per_cell, strict=True)
    ends = np.cumsum([0, *(height * width * anchors for (height, width), anchors in counts)])
    steps = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0][:, [1, 0, 3, 2]]
        with torch.no_grad():
            batch = torch.from_numpy((image.transpose(2, 0, 1)[None] - 128.0) / 128.0).float()
            wanted = simulated(batch, detector.subnet).box_codes[0].numpy()
        for level, name in enumerate(converted.plan.box_outputs):
            low, high = ranges[name]
            part = slice(ends[level], ends[level + 1])
            steps.append(np.abs(found[part] - wanted[part]).ravel() / ((high - low) / 255))
    assert np.mean(np.concatenate(steps) < 2.5) > 0.95


def test_an_unsigned_file_is_the_signed_one(trained, images, tmp_path):
    """Compact, with other attributes of the op."""
    from ofa_det.export.converted import Recipe
    from ofa_det.export.tflite_model import make_tflite

    ending = EndingConfig(regular_nms=False, max_classes_per_detection=2, box_scales=(5.0, 5.0, 2.5, 2.5))
    description = replace(trained.description, postprocess=ending.applied_to(trained.description.postprocess))
    fast = replace(trained, description=description)
    recipe = Recipe(format="tflite-int8", input_type="int8", classes="compact", ending=ending)
    converted = make_tflite(fast, recipe, images, images)

    interpreter = Interpreter(model_content=converted.content)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    assert (entry["dtype"], entry["quantization"]) == (np.int8, (1 / 128, 0))
    assert operators(converted.content) == expected_operators(converted.plan, input_type="int8")
    assert not converted.columns.has_unused
    assert converted.plan.macs == trained.network.plan(trained.network.subnet).macs
    assert converted.outputs[0].shape == (1, 2 * description.postprocess.max_detections, 4)
    path = tmp_path / converted.file_name
    path.write_bytes(converted.content)
    attributes = flexbuffers.GetRoot(bytearray(_options(converted.content))).AsMap.Value
    assert {key: attributes[key] for key in ("y_scale", "w_scale", "use_regular_nms", "max_classes_per_detection")} == {
        "y_scale": 5.0,
        "w_scale": 2.5,
        "use_regular_nms": False,
        "max_classes_per_detection": 2,
    }
    # With two classes a box, the first half of the boxes torch finds with one class each.
    found = TfliteDetector(path).predict(np.stack(images))
    wanted = TorchDetector(trained.network, description).predict(np.stack(images))
    for ours, theirs in zip(found, wanted, strict=True):
        best = theirs.boxes[0]
        assert np.abs(ours.boxes - best).max(axis=1).min() < 0.1


@pytest.mark.parametrize(("format_", "smaller"), [("tflite-float16", 0.6), ("tflite-dynamic", 0.45)])
def test_light_weights_make_a_small_file(format_, smaller, float32, trained, images):
    from ofa_det.export.converted import Recipe
    from ofa_det.export.tflite_model import make_tflite

    converted = make_tflite(trained, Recipe(format=format_), [], images)
    assert len(converted.content) < smaller * len(float32.content)
    assert converted.input.dtype == "float32"
    assert converted.quantization is None
    assert 0 < converted.verification["score_error"] < 0.1
    assert operators(converted.content)["TRANSPOSE"] == 0


def _options(content: bytes) -> bytes:
    """Of the last op."""
    graph = schema.ModelT.InitFromPackedBuf(bytearray(content)).subgraphs[0]
    return bytes(graph.operators[-1].customOptions)
