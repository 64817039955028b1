"""What SSDLite has not: a space with each of them, written as a user writes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from export.conversions import converted_file
from export.operators import ENDING, expected_operators, float_operators, operators

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import parse_tflite

pytestmark = pytest.mark.tflite

PYRAMID = """
resolutions: [64]
backbone:
  padding: symmetric
  stem: {width: 8, kernel_size: 3, stride: 2, activation: hswish}
  stages:
    - {width: 16, stride: 2, activation: relu, kinds: [inverted, fused],
       depths: [2], kernel_sizes: [3], expand_ratios: [1, 2]}
    - {width: 24, stride: 2, activation: relu6, squeeze_excite: true,
       depths: [1], kernel_sizes: [5], expand_ratios: [2]}
    - {width: 32, stride: 2, activation: hswish,
       depths: [1], kernel_sizes: [7], expand_ratios: [2]}
neck:
  - {name: top, inputs: [stages.2], width: 16}
  - {name: up, kind: resize}
  - {name: side, inputs: [stages.1], width: 16}
  - {name: sum, kind: add, inputs: [up, side]}
  - {name: both, kind: concat, inputs: [sum, stages.1, up]}
  - {name: fine, width: 16}
head:
  tower: [{kind: depthwise, kernel_size: 3}, {width: 24}]
  separate_towers: true
  shared: true
levels:
  - {feature: fine, stride: 8}
  - {feature: top, stride: 16}
"""
ANCHORS = ((0.2, 0.2), (0.5, 0.3))


@pytest.fixture(scope="module")
def make_trained(randomised, tmp_path_factory):
    return lambda text: randomised(*described(text, tmp_path_factory.mktemp("spaces") / "pyramid.yaml"))


@pytest.fixture(scope="module")
def trained(make_trained):
    return make_trained(PYRAMID)


def described(text, path):
    path.write_text(text)
    space = read_space(str(path))
    description = ModelDescription(
        detector=DetectorConfig.of(space, num_classes=3, anchor_sizes=(ANCHORS, ANCHORS)),
        subnet=None,
        categories=tuple(Category(id=number + 1, name=f"name {number}") for number in range(3)),
        postprocess=PostProcessConfig(score_threshold=0.05),
    )
    return description, space.largest()


def test_the_space_has_what_the_mirror_must_know(trained):
    layers = trained.network.plan(trained.network.subnet).layers
    assert {"resize", "concat", "add"} < {layer.kind for layer in layers}
    assert any(layer.pads_unlike_same and layer.kind == "conv" for layer in layers)
    assert any(layer.pads_unlike_same and layer.kind == "depthwise" for layer in layers)
    assert any(layer.weights_of for layer in layers)


@pytest.mark.parametrize(
    "text",
    [
        PYRAMID,
        PYRAMID.replace("inputs: [up, side]", "inputs: [up, side, up]"),
        PYRAMID.replace("separate_towers: true", "separate_towers: false"),
    ],
    ids=["pyramid", "sum of three", "common tower"],
)
def test_the_mirror_equals_torch(make_trained, text, images):
    from ofa_det.export.keras_mirror import keras_mirror
    from ofa_det.export.mirror_weights import fold_batch_norm

    detector = make_trained(text).network
    plan = detector.plan(detector.subnet)
    weights = fold_batch_norm(plan, {key: value.numpy() for key, value in detector.state_dict().items()})
    mirror = keras_mirror(plan.folded(), weights)
    levels = len(plan.box_outputs)
    for image in images[:2]:
        normalised = ((image.astype(np.float32) - 128) / 128)[None]
        found = [np.asarray(output) for output in mirror(normalised, training=False)]
        with torch.no_grad():
            wanted = detector(torch.from_numpy(normalised.transpose(0, 3, 1, 2)), detector.subnet)
        np.testing.assert_allclose(np.concatenate(found[:levels], axis=1), wanted.box_codes, atol=1e-4)
        np.testing.assert_allclose(np.concatenate(found[levels:], axis=1), wanted.logits, atol=1e-4)
        assert wanted.logits.std() > 0.1


@pytest.mark.parametrize("quantized", [False, True])
def test_the_file_has_the_layers_of_the_plan(trained, images, quantized):
    """Its latency is that of the plan to 1 part in a million."""
    converted = converted_file(trained, images, quantized=quantized)
    network = parse_tflite(converted.content, where="the file")
    plan = trained.network.plan(trained.network.subnet).folded()
    assert converted.plan == plan == trained.description.shipped_plan(trained.network.subnet)
    assert (network.macs, sum(layer.parameters for layer in network.layers)) == (plan.macs, plan.parameters)
    assert {"resize", "concat", "add"} < {layer.kind for layer in network.layers}
    model = latency_model(precision=network.precision)
    assert model.predict(network.layers).mean_ms == pytest.approx(model.predict(plan.layers).mean_ms, rel=1e-6)
    if not quantized:
        assert max(converted.verification["box_code_error"], converted.verification["score_error"]) < 1e-5
        assert operators(converted.content) == expected_operators(plan, input_type="float32")
    else:
        assert min(converted.verification["box_code_sqnr_db"], converted.verification["score_sqnr_db"]) > 15
        assert operators(converted.content) == expected_operators(plan, input_type="uint8")
        assert float_operators(converted.content) == set(ENDING)
        assert {layer.name for layer in converted.layers} == {layer.name for layer in plan.layers}
