from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.models.activation_ranges import CONFIDENT_LOGIT, calibrated_ranges, silent_logit
from ofa_det.models.fake_quantization import (
    QuantizedDetector,
    joined,
    quantized_weight,
    read_ranges,
    tensor_roots,
    write_ranges,
)
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import save_model


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    return list(generator.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def detector(tiny_space):
    torch.manual_seed(0)
    config = DetectorConfig.of(tiny_space, num_classes=2, anchor_sizes=ssd_anchor_sizes(6, 0.1))
    detector = Detector(config, tiny_space.smallest(64))
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
    with torch.no_grad():
        for _ in range(5):
            detector(torch.rand(4, 3, 64, 64) * 2 - 1, detector.subnet)
    return detector.eval()


@pytest.fixture(scope="module")
def ranges(detector, images):
    return calibrated_ranges(detector, images, rule="minmax", score_threshold=0.01)


def tensors(images):
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - 128) / 128


def test_weights_have_255_steps_around_zero_for_each_output_channel():
    weight = torch.tensor([[1.27, -0.404], [254.0, 1.2]]).view(2, 2, 1, 1)
    found = quantized_weight(weight.requires_grad_())
    torch.testing.assert_close(found.flatten(), torch.tensor([1.27, -0.40, 254.0, 2.0]))
    found.sum().backward()
    assert weight.grad.eq(1).all()


def test_activations_lie_on_256_steps_of_their_range(detector, ranges, images):
    quantized = QuantizedDetector.of(detector, ranges)
    seen = {}
    quantized._quantize, original = lambda name, x: seen.setdefault(name, original(name, x)), quantized._quantize
    with torch.no_grad():
        quantized(tensors(images), detector.subnet)
    assert seen.keys() == set(tensor_roots(detector.plan(detector.subnet)))
    for name, values in seen.items():
        low, high = ranges[name]
        steps = values / ((high - low) / 255)
        torch.testing.assert_close(steps, steps.round(), atol=1e-2, rtol=0)
        assert values.unique().numel() <= 256
        assert low - 1e-2 * (high - low) <= values.min() <= values.max() <= high + 1e-2 * (high - low)


def test_outputs_are_close_to_those_in_float(detector, ranges, images):
    quantized = QuantizedDetector.of(detector, ranges)
    with torch.no_grad():
        found, wanted = (network(tensors(images), detector.subnet) for network in (quantized, detector))
    noise = (found.box_codes - wanted.box_codes).square().sum()
    assert 0 < noise < wanted.box_codes.square().sum() / 100


def test_what_moves_bytes_shares_a_range():
    plan_roots = {"a": "a", "b": "a", "c": "c"}
    found = joined({"a": (-1.0, 2.0), "b": (-3.0, 1.0), "c": (0.5, 1.0)}, plan_roots)
    assert found == {"a": (-3.0, 2.0), "b": (-3.0, 2.0), "c": (0.0, 1.0)}


def test_every_level_can_say_that_it_is_sure(detector, ranges):
    """And nothing below the threshold takes up steps."""
    plan = detector.plan(detector.subnet)
    for name in plan.score_outputs:
        low, high = ranges[name]
        assert high >= CONFIDENT_LOGIT
        assert low == silent_logit(0.01) == pytest.approx(np.log(0.01 / 0.99) - 1)


@pytest.mark.parametrize("rule", ["percentile", "mse"])
def test_other_rules_cut_off_what_is_rare(detector, ranges, images, rule):
    found = calibrated_ranges(detector, images, rule=rule, score_threshold=0.01)
    widths = [(found[name][1] - found[name][0]) / (ranges[name][1] - ranges[name][0]) for name in ranges]
    assert max(widths) <= 1 + 1e-6
    assert np.mean(widths) < 0.99
    assert min(widths) > 0.1


def test_calibration_refuses_what_cannot_be(detector, images):
    with pytest.raises(ValueError, match="at least one calibration image"):
        calibrated_ranges(detector, [], rule="mse", score_threshold=0.01)
    with pytest.raises(ValueError, match="expected a rule of minmax, percentile, mse, found 'max'"):
        calibrated_ranges(detector, images, rule="max", score_threshold=0.01)


def test_ranges_follow_batches_while_they_move(detector, ranges, images):
    quantized = QuantizedDetector.of(detector, ranges).train()
    before, stem = quantized.tensor_ranges(), "backbone.stem"
    bright = torch.full((2, 3, 64, 64), 0.9)
    quantized(bright, detector.subnet)
    assert quantized.tensor_ranges() == before
    quantized.momentum = 0.5
    quantized(bright, detector.subnet)
    after = quantized.tensor_ranges()
    assert after[stem] != before[stem]
    plan = detector.plan(detector.subnet)
    assert all(after[name] == before[name] for name in plan.score_outputs)
    assert quantized.extract(detector.subnet).momentum == 0


def test_every_weight_learns_and_statistics_stand_still(detector, ranges, images):
    quantized = QuantizedDetector.of(detector, ranges).train()
    output = quantized(tensors(images), detector.subnet)
    (output.box_codes.square().sum() + output.logits.sum()).backward()
    # The bias before a batch norm there is none; each other parameter has a gradient.
    assert [name for name, p in quantized.named_parameters() if p.grad is None] == []
    for key, value in detector.state_dict().items():
        if "running" in key:
            torch.testing.assert_close(quantized.state_dict()[key], value, atol=0, rtol=0)


def test_float_weights_come_back_unchanged(detector, ranges):
    state = QuantizedDetector.of(detector, ranges).as_float().state_dict()
    assert state.keys() == detector.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in detector.state_dict().items())


def test_ranges_belong_to_weights(detector, ranges, tmp_path):
    description = ModelDescription(
        detector=detector.config,
        subnet=detector.subnet,
        categories=(Category(id=1, name="a"), Category(id=2, name="b")),
        postprocess=PostProcessConfig(),
    )
    with pytest.raises(FileNotFoundError, match=r"expected quantization\.json of a quantization-aware training"):
        read_ranges(tmp_path)
    save_model(tmp_path, description, detector)
    write_ranges(tmp_path, ranges)
    assert read_ranges(tmp_path) == ranges
    save_model(tmp_path, replace(description, training_images="others"), detector)
    with pytest.raises(ValueError, match="to belong to the model beside it"):
        read_ranges(tmp_path)


def test_ranges_of_another_architecture_are_refused(detector, ranges):
    fewer = {name: value for name, value in ranges.items() if name != "backbone.stem"}
    with pytest.raises(ValueError, match=r"with a difference in 'backbone\.stem'"):
        QuantizedDetector.of(detector, fewer)
