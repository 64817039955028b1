import random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ofa_det.arch.detector import BackboneConfig, DetectorConfig
from ofa_det.arch.search_space import SearchSpace
from ofa_det.models.calibration import calibrate_batch_norm
from ofa_det.models.detector import Detector
from ofa_det.models.extraction import extract
from ofa_det.models.supernet import Supernet

SPACE = SearchSpace(resolutions=(64, 80), depths=(1, 2), expand_ratios=(3, 4, 6), kernel_sizes=(3, 5, 7))
CONFIG = DetectorConfig(num_classes=4, backbone=BackboneConfig(width_mult=0.5, last_width=96))
RANDOM = random.Random(0)
SUBNETS = [SPACE.largest(), SPACE.smallest(), *(SPACE.sample(RANDOM) for _ in range(3))]


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(CONFIG, SPACE)
    with torch.no_grad():  # statistics and transforms that differ from their start, as after training
        for name, value in [*supernet.named_parameters(), *supernet.named_buffers()]:
            if "transforms" in name:
                value += 0.1 * torch.randn_like(value)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name.endswith("running_mean"):
                value.normal_(std=0.1)
    return supernet


@pytest.mark.parametrize("subnet", SUBNETS, ids=str)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_an_extracted_subnet_is_its_supernet_path_bit_for_bit(supernet, subnet, training):
    supernet.train(training)
    images = torch.randn(2, 3, subnet.resolution, subnet.resolution)
    with torch.no_grad():
        path = supernet(images, subnet)
        static = extract(supernet, subnet)(images)
    assert torch.equal(path.box_codes, static.box_codes)
    assert torch.equal(path.logits, static.logits)


@pytest.mark.parametrize("subnet", SUBNETS, ids=str)
def test_the_plan_counts_what_torch_counts(subnet):
    detector = Detector(CONFIG, subnet).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        detector(torch.zeros(1, 3, subnet.resolution, subnet.resolution))
    assert detector.plan.macs == counter.get_total_flops() / 2
    assert detector.plan.parameters == sum(p.numel() for p in detector.parameters())


def test_outputs_line_up_with_the_anchors(supernet):
    detector = extract(supernet, SPACE.largest())
    output = detector(torch.zeros(2, 3, 80, 80))
    assert output.box_codes.shape == (2, len(detector.anchors), 4)
    assert output.logits.shape == (2, len(detector.anchors), 4)


def test_the_order_of_outputs_is_level_row_column_size(supernet):
    detector = extract(supernet, SPACE.smallest()).eval()
    kept = {}
    for branch in ("box", "score"):
        module = detector.get_submodule(f"head.levels.0.{branch}.project")
        module.register_forward_hook(lambda _, __, out, branch=branch: kept.__setitem__(branch, out))
    output = detector(torch.randn(1, 3, 64, 64))
    row, column, size = 2, 1, 1
    anchor = (row * 4 + column) * 3 + size
    torch.testing.assert_close(output.box_codes[0, anchor], kept["box"][0, size * 4 : size * 4 + 4, row, column])
    torch.testing.assert_close(output.logits[0, anchor], kept["score"][0, size * 4 : size * 4 + 4, row, column])


def test_every_weight_trains_under_the_sandwich(supernet):
    supernet.train().zero_grad()
    images = torch.randn(2, 3, 64, 64)
    for subnet in (SPACE.largest(64), SPACE.smallest(64)):
        output = supernet(images, subnet)
        (output.box_codes.square().sum() + output.logits.square().sum()).backward()
    # The smallest subnet has one block in a stage, so later blocks' small kernels wait for a random subnet.
    unused = [n for n, p in supernet.named_parameters() if p.grad is None and ".1.depthwise.transforms" not in n]
    assert unused == []


def test_mistakes_are_named(supernet):
    with pytest.raises(ValueError, match="expected a subnet of"):
        supernet(torch.zeros(1, 3, 96, 96), SPACE.largest(96))
    with pytest.raises(ValueError, match="expected images of 80 px"):
        supernet(torch.zeros(1, 3, 64, 64), SPACE.largest(80))
    with pytest.raises(ValueError, match="expected a subnet of"):
        extract(supernet, SPACE.largest(96))


def test_calibration_gives_the_statistics_of_the_images(supernet):
    detector = extract(supernet, SPACE.smallest())
    images = [torch.randn(4, 3, 64, 64) for _ in range(3)]
    calibrate_batch_norm(detector, images)
    stem = detector.get_submodule("backbone.stem")
    with torch.no_grad():
        seen = []
        stem.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for batch in images:
            detector(batch)
    expected = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in seen]).mean(dim=0)
    torch.testing.assert_close(stem.norm.running_mean, expected)
    assert not detector.training
    with pytest.raises(ValueError, match="at least one batch"):
        calibrate_batch_norm(detector, [])
