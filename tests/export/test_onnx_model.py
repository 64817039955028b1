from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ofa_det.arch.description import PostProcessConfig
from ofa_det.evaluation.onnx import OnnxDetector
from ofa_det.evaluation.torch_detector import TorchDetector


@pytest.mark.slow
def test_file_detects_what_torch_detects(trained, images, tmp_path):
    from ofa_det.export.onnx_model import convert_to_onnx

    postprocess = PostProcessConfig(score_threshold=0.05, iou_threshold=0.5, max_detections=40)
    trained = replace(trained, description=replace(trained.description, postprocess=postprocess))
    converted = convert_to_onnx(trained, images)
    path = tmp_path / converted.file_name
    path.write_bytes(converted.content)

    detector = OnnxDetector(path)
    found = detector.predict(np.stack(images))
    wanted = TorchDetector(trained.network, trained.description).predict(np.stack(images))

    assert detector.input_size == (64, 64)
    assert converted.verification["largest_error"] < 1e-5
    assert converted.columns.category_ids == tuple(category.id for category in trained.description.categories)
    plan = trained.network.plan(trained.network.subnet).folded()  # One column a category, none unused.
    assert (converted.plan.macs, converted.plan.parameters) == (plan.macs, plan.parameters)
    assert converted.outputs[1].shape == (1, plan.num_anchors, 4)
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == 40
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_array_equal(ours.category_ids, theirs.category_ids)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected uint8 images \(B, 64, 64, 3\)"):
        detector.predict(np.zeros((1, 32, 64, 3), np.uint8))
