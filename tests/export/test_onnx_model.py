from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ofa_det.arch.description import PostProcessConfig
from ofa_det.evaluation.onnx import OnnxDetector
from ofa_det.evaluation.torch_detector import TorchDetector

pytestmark = pytest.mark.slow


def described(trained, **changes):
    postprocess = PostProcessConfig(score_threshold=0.05, iou_threshold=0.5, max_detections=40, **changes)
    return replace(trained, description=replace(trained.description, postprocess=postprocess))


def check_same(found, wanted):
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == len(theirs) > 5
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_array_equal(ours.category_ids, theirs.category_ids)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-5)


def test_file_detects_what_torch_detects(trained, images, tmp_path):
    from ofa_det.export.onnx_model import convert_to_onnx

    trained = described(trained)
    converted = convert_to_onnx(trained, images)
    path = tmp_path / converted.file_name
    path.write_bytes(converted.content)

    detector = OnnxDetector(path)
    assert detector.input_size == (64, 64)
    assert converted.verification["largest_error"] < 1e-5
    assert converted.columns.category_ids == tuple(category.id for category in trained.description.categories)
    plan = trained.network.plan(trained.network.subnet).folded()  # One column a category, none unused.
    assert (converted.plan.macs, converted.plan.parameters) == (plan.macs, plan.parameters)
    assert converted.outputs[1].shape == (1, plan.num_anchors, 4)
    found = detector.predict(np.stack(images))
    check_same(found, TorchDetector(trained.network, trained.description).predict(np.stack(images)))
    with pytest.raises(ValueError, match=r"expected uint8 images \(B, 64, 64, 3\)"):
        detector.predict(np.zeros((1, 32, 64, 3), np.uint8))


@pytest.mark.parametrize("regular", [True, False])
def test_a_file_that_suppresses_detects_what_torch_detects(trained, images, tmp_path, regular):
    import onnx

    from ofa_det.export.onnx_model import OPSET, convert_to_onnx

    trained = described(trained, regular_nms=regular, detections_per_class=15)
    converted = convert_to_onnx(trained, images, suppressed=True)
    path = tmp_path / converted.file_name
    path.write_bytes(converted.content)
    found = OnnxDetector(path).predict(np.stack(images))
    check_same(found, TorchDetector(trained.network, trained.description).predict(np.stack(images)))

    model = onnx.load_from_string(converted.content)
    assert [output.name for output in model.graph.output] == ["boxes", "scores", "labels"]
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    assert converted.verification["opset"] == OPSET
    (entry,) = model.metadata_props
    assert json.loads(entry.value)["postprocess"]["regular_nms"] == regular
    with pytest.raises(ValueError, match=r"expected uint8 images \(B, 64, 64, 3\)"):
        OnnxDetector(path).predict(np.zeros((1, 32, 64, 3), np.uint8))
