"""Layers of low rank, in the file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from export.conversions import converted_file
from export.operators import expected_operators, operators

from ofa_det.arch.low_rank import LayerRank, largest_rank, pointwise_layers
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import parse_tflite
from ofa_det.models.low_rank import factored
from ofa_det.models.run_folder import Trained


@pytest.mark.tflite
@pytest.mark.parametrize("quantized", [False, True])
def test_the_file_has_the_layers_of_the_plan(trained, images, quantized):
    """Every layer that can has a rank, predictors whose class columns have gaps and gates among them."""
    whole = trained.network
    ranks = [
        LayerRank(layer=layer.name, rank=min(8, largest_rank(layer)))
        for layer in pointwise_layers(whole.plan(whole.subnet))
    ]
    lower = factored(whole, ranks)
    described = Trained(network=lower, description=replace(trained.description, detector=lower.config))
    converted = converted_file(described, images, quantized=quantized)
    network, plan = parse_tflite(converted.content, where="the file"), converted.plan
    assert len(plan.layers) == len(whole.plan(whole.subnet).layers) + len(ranks)
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
