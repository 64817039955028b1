"""What comes out of the TensorFlow converter, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import parse_tflite

pytestmark = pytest.mark.tflite


def convert(trained, images, *, quantized):
    from ofa_det.export.tflite_model import convert_to_tflite

    return convert_to_tflite(trained, images, images, quantized=quantized)


@pytest.fixture(scope="module")
def float32(trained, images):
    return convert(trained, images, quantized=False)


@pytest.fixture(scope="module")
def int8(trained, images):
    return convert(trained, images, quantized=True)


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


def test_levels_and_branches_have_their_own_ranges(int8, trained):
    quantization = int8.quantization
    scales = [entry["scale"] for entry in (*quantization.box_codes, *quantization.logits)]
    assert len(quantization.box_codes) == len(trained.description.detector.space.levels)
    assert len(set(scales)) == len(scales) == 2 * len(quantization.box_codes)


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
    assert converted.columns == trained.description.columns
    assert converted.verification["unused_score"] < trained.description.postprocess.score_threshold
    path = tmp_path / converted.file_name
    path.write_bytes(converted.content)
    detector, known = TfliteDetector(path), {category.id for category in trained.description.categories}
    resolution = trained.network.subnet.resolution
    extremes = [np.full((resolution, resolution, 3), value, np.uint8) for value in (0, 128, 255)]
    for found in detector.predict(np.stack(extremes)):
        assert set(found.category_ids.tolist()) <= known


def test_unused_classes_do_not_stretch_the_logits_range(trained, images):
    from ofa_det.export.tflite_model import unused_logits

    detector, columns = trained.network, trained.description.columns
    batches = [torch.from_numpy((image.transpose(2, 0, 1)[None] - 128.0) / 128.0).float() for image in images]
    with torch.no_grad():
        lowest = min(detector(batch, detector.subnet).logits.min() for batch in batches)
    logits = unused_logits(detector, columns, images, 0.05)
    silent = float(np.log(0.05 / 0.95)) - 1
    assert min(logits) == pytest.approx(min(float(lowest), silent), abs=1e-3)
    assert max(logits) <= silent
    with pytest.raises(ValueError, match="expected a score_threshold > 0"):
        unused_logits(detector, columns, images, 0.0)
