"""Layers of low rank, in the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from export.conversions import converted_file
from export.operators import expected_operators, operators

from ofa_det.arch.low_rank import LayerRank, largest_rank, pointwise_layers
from ofa_det.evaluation.onnx import OnnxDetector
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import parse_tflite
from ofa_det.models.low_rank import factored
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained


@pytest.fixture(scope="module")
def lower(trained: Trained[Detector]) -> Trained[Detector]:
    """Every layer that can has a rank, predictors whose class columns have gaps and gates among them."""
    whole = trained.network
    ranks = [
        LayerRank(layer=layer.name, rank=min(8, largest_rank(layer)))
        for layer in pointwise_layers(whole.plan(whole.subnet))
    ]
    network = factored(whole, ranks)
    return Trained(network=network, description=replace(trained.description, detector=network.config))


@pytest.mark.tflite
@pytest.mark.parametrize("quantized", [False, True])
def test_the_file_has_the_layers_of_the_plan(trained, lower, images, quantized):
    whole = trained.network
    converted = converted_file(lower, images, quantized=quantized)
    network, plan = parse_tflite(converted.content, where="the file"), converted.plan
    assert len(plan.layers) == len(whole.plan(whole.subnet).layers) + len(lower.network.config.ranks)
    assert (network.macs, sum(layer.parameters for layer in network.layers)) == (plan.macs, plan.parameters)
    assert plan.macs < trained.description.shipped_plan(whole.subnet).macs
    model = latency_model(precision=network.precision)
    assert model.predict(network.layers).mean_ms == pytest.approx(model.predict(plan.layers).mean_ms, rel=1e-6)
    assert operators(converted.content) == expected_operators(plan, input_type="uint8" if quantized else "float32")
    if quantized:
        assert {layer.name for layer in converted.layers} == {layer.name for layer in plan.layers}
        assert min(converted.verification["box_code_sqnr_db"], converted.verification["score_sqnr_db"]) > 15
    else:
        assert max(converted.verification["box_code_error"], converted.verification["score_error"]) < 1e-5


@pytest.mark.slow
def test_an_onnx_file_detects_what_torch_detects(trained, lower, images, tmp_path):
    from ofa_det.export.onnx_model import convert_to_onnx

    converted = convert_to_onnx(lower, images[:2])
    whole = trained.network.plan(trained.network.subnet)
    assert len(converted.plan.layers) == len(whole.layers) + len(lower.network.config.ranks)
    assert converted.plan.macs < whole.macs
    path = tmp_path / converted.file_name
    path.write_bytes(converted.content)
    wanted = TorchDetector(lower.network, lower.description).predict(np.stack(images))
    for ours, theirs in zip(OnnxDetector(path).predict(np.stack(images)), wanted, strict=True):
        assert len(ours) == len(theirs) > 5
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_array_equal(ours.category_ids, theirs.category_ids)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-5)
