"""What comes out of the TensorFlow converter, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from ofa_det.data.class_columns import class_columns
from ofa_det.detection.postprocessing import PostProcessConfig
from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.export.config import ExportConfig

pytestmark = pytest.mark.tflite
POST_PROCESSING = PostProcessConfig(score_threshold=0.05, iou_threshold=0.5)


def convert(trained, images, format_):
    from ofa_det.export.tflite_model import convert_to_tflite

    config = ExportConfig(format=format_, postprocess=POST_PROCESSING)
    return convert_to_tflite(trained, config, images, images)


@pytest.fixture(scope="module")
def float32(trained, images):
    return convert(trained, images, "tflite-float32")


@pytest.fixture(scope="module")
def int8(trained, images):
    return convert(trained, images, "tflite-int8")


def test_float32_network_equals_torch(float32):
    found = float32.description["verification"]
    assert found["box_code_error"] < 1e-5
    assert found["score_error"] < 1e-5
    assert float32.description["quantization"] is None


def test_float32_file_detects_what_torch_detects(float32, trained, images, tmp_path):
    path = tmp_path / float32.file_name
    path.write_bytes(float32.content)

    found = TfliteDetector(path).predict(np.stack(images))
    wanted = TorchDetector(trained.detector, trained.categories, POST_PROCESSING).predict(np.stack(images))

    assert sum(map(len, wanted)) > 50
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_array_equal(ours.category_ids, theirs.category_ids)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-5)


def test_int8_input_takes_raw_bytes(int8, trained):
    interpreter = Interpreter(model_content=int8.content)
    (entry,) = interpreter.get_input_details()
    resolution = trained.detector.plan.resolution
    assert entry["dtype"] is np.uint8
    assert entry["quantization"] == (1 / 128, 128)
    assert entry["shape"].tolist() == [1, resolution, resolution, 3]
    assert entry["name"] == "normalized_input_image_tensor"


def test_int8_network_is_close_to_torch(int8):
    found = int8.description["verification"]
    assert found["box_code_sqnr_db"] > 15
    assert found["score_sqnr_db"] > 15


def test_levels_and_branches_have_their_own_ranges(int8, trained):
    quantization = int8.description["quantization"]
    scales = [entry["scale"] for entry in (*quantization["box_codes"], *quantization["logits"])]
    assert len(quantization["box_codes"]) == len(trained.detector.plan.box_outputs)
    assert len(set(scales)) == len(scales) == 2 * len(quantization["box_codes"])


@pytest.mark.parametrize("format_", ["float32", "int8"])
def test_unused_classes_never_fire(format_, trained, request, tmp_path):
    converted = request.getfixturevalue(format_)
    columns = class_columns(trained.categories)
    assert columns.has_unused
    assert converted.description["class_category_ids"] == list(columns.category_ids)
    assert converted.description["verification"]["unused_score"] < POST_PROCESSING.score_threshold
    path = tmp_path / converted.file_name
    path.write_bytes(converted.content)
    detector, known = TfliteDetector(path), {category.id for category in trained.categories}
    resolution = trained.detector.plan.resolution
    extremes = [np.full((resolution, resolution, 3), value, np.uint8) for value in (0, 128, 255)]
    for found in detector.predict(np.stack(extremes)):
        assert set(found.category_ids.tolist()) <= known


def test_unused_classes_do_not_stretch_the_logits_range(trained, images):
    from ofa_det.export.tflite_model import unused_logits

    columns = class_columns(trained.categories)
    with torch.no_grad():
        lowest = min(
            trained.detector(torch.from_numpy((image.transpose(2, 0, 1)[None] - 128.0) / 128.0).float()).logits.min()
            for image in images
        )
    logits = unused_logits(trained.detector, columns, images, 0.05)
    silent = float(np.log(0.05 / 0.95)) - 1
    assert min(logits) == pytest.approx(min(float(lowest), silent), abs=1e-3)
    assert max(logits) <= silent
    with pytest.raises(ValueError, match="expected a score_threshold > 0"):
        unused_logits(trained.detector, columns, images, 0.0)
