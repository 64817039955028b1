import random
import weakref
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.layers import Layer
from ofa_det.arch.space import SearchSpace
from ofa_det.models import network as network_module
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.supernet import Supernet


def images(resolution: int, count: int = 2) -> Tensor:
    return torch.randn((count, 3, resolution, resolution), generator=torch.Generator().manual_seed(resolution))


@pytest.fixture
def detector(config: DetectorConfig) -> Detector:
    """Ships at 96 px, runs at 64 too."""
    torch.manual_seed(0)
    return Detector(config, config.space.largest(96), resolutions=(64, 96))


def test_the_plan_counts_what_torch_counts(config: DetectorConfig) -> None:
    for subnet in (config.space.largest(), config.space.smallest(), config.space.sample(random.Random(0))):
        detector = Detector(config, subnet).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            detector(images(subnet.resolution, 1), subnet)
        assert detector.plan(subnet).macs == counter.get_total_flops() / 2
        assert detector.plan(subnet).parameters == sum(p.numel() for p in detector.parameters())


def test_the_epsilon_of_batch_norms_is_the_layers(config: DetectorConfig) -> None:
    backbone = replace(config.space.backbone, batch_norm_epsilon=0.25)
    changed = replace(config, space=replace(config.space, backbone=backbone))
    for network in (Supernet(changed), Detector(changed, changed.space.largest())):
        found = {name: module.norm.eps for name, module in network.convolutions.items() if module.norm is not None}
        assert all(eps == (0.25 if name.startswith("backbone.") else 1e-5) for name, eps in found.items())


def test_outputs_line_up_with_the_anchors(detector: Detector) -> None:
    for resolution in (64, 96):
        subnet = replace(detector.subnet, resolution=resolution)
        output = detector(images(resolution), subnet)
        count = len(detector.anchors(subnet))
        assert output.box_codes.shape == (2, count, 4)
        assert output.logits.shape == (2, count, 3)


def test_the_order_of_outputs_is_level_row_column_size(
    open_space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps: dict[str, Tensor] = {}

    def kept(features: Tensor, weight: Tensor, bias: Tensor | None, layer: Layer) -> Tensor:
        maps[layer.name] = convolve(features, weight, bias, layer)
        return maps[layer.name]

    convolve = network_module.convolve
    monkeypatch.setattr(network_module, "convolve", kept)
    detector = Detector(DetectorConfig(num_classes=3, space=open_space), open_space.largest(96)).eval()
    output = detector(images(96), detector.subnet)
    assert detector.plan(detector.subnet).feature_sizes == ((12, 12), (6, 6))
    row, column, size = 2, 3, 1  # Two anchors at each cell of the levels of 12 x 12 and 6 x 6.
    for level, anchor in ((0, (row * 12 + column) * 2 + size), (1, 12 * 12 * 2 + (row * 6 + column) * 2 + size)):
        codes = maps[f"head.levels.{level}.box.project"][:, size * 4 : size * 4 + 4, row, column]
        logits = maps[f"head.levels.{level}.score.project"][:, size * 3 : size * 3 + 3, row, column]
        assert torch.equal(output.box_codes[:, anchor], codes)
        assert torch.equal(output.logits[:, anchor], logits)


def test_the_sum_and_the_join_of_a_neck_by_hand(open_space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, Tensor] = {}
    written: dict[str, Tensor] = {}

    def kept(features: Tensor, weight: Tensor, bias: Tensor | None, layer: Layer) -> Tensor:
        read[layer.name] = features
        written[layer.name] = convolve(features, weight, bias, layer)
        return written[layer.name]

    convolve = network_module.convolve
    monkeypatch.setattr(network_module, "convolve", kept)
    detector = Detector(DetectorConfig(num_classes=3, space=open_space), open_space.largest(96)).eval()
    detector(images(96), detector.subnet)

    def feature(name: str) -> Tensor:
        """Of a conv of the neck, behind its batch norm and relu6."""
        norm = detector.get_submodule(f"neck.{name}").norm
        return F.relu6(norm(written[f"neck.{name}"]))

    top, down = feature("top"), feature("down")
    doubled = top.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(read["neck.down"], doubled + feature("lateral"))
    torch.testing.assert_close(read["neck.coarse"][:, :32], torch.cat((down, top), dim=1))
    torch.testing.assert_close(read["neck.coarse"][:, 32:], read["neck.top"])


def test_features_are_freed_once_they_are_read(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def kept(features: Tensor, weight: Tensor, bias: Tensor | None, layer: Layer) -> Tensor:
        alive.append(sum(ref() is not None for ref in written))
        written.append(weakref.ref(features))
        return convolve(features, weight, bias, layer)

    convolve = network_module.convolve
    monkeypatch.setattr(network_module, "convolve", kept)
    with torch.no_grad():
        detector.eval()(images(96), detector.subnet)
    assert len(alive) >= 40
    assert max(alive) <= 2 + len(detector.config.space.levels)  # which wait for the head


def test_a_shared_head_is_one_head_with_norms_of_its_own(open_space: SearchSpace) -> None:
    detector = Detector(DetectorConfig(num_classes=3, space=open_space), open_space.largest(96))
    of_second_level = [name for name, _ in detector.named_parameters() if name.startswith("head.levels.1.")]
    assert of_second_level
    assert all(".norm." in name for name in of_second_level)
    detector(images(96), detector.subnet).logits[:, 288:].sum().backward()  # the second level alone
    assert detector.get_parameter("head.levels.0.score.project.weight").grad.abs().sum() > 0


def test_an_untrained_network_expects_no_object_and_gives_the_anchors(config: DetectorConfig) -> None:
    subnet = config.space.largest()
    for network in (Supernet(config), Detector(config, subnet)):
        output = network(images(96), subnet)
        assert output.logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)
        assert output.box_codes.abs().mean() < 0.5


def test_supernet_and_detector_answer_the_same_calls(config: DetectorConfig) -> None:
    networks: list[DetectionNetwork] = [
        Supernet(config),
        Detector(config, config.space.largest(96), resolutions=(64, 96)),
    ]
    for resolution in (64, 96):
        subnet = config.space.largest(resolution)
        assert all(subnet in network.subnets for network in networks)
        assert networks[0].plan(subnet) == networks[1].plan(subnet)
        assert torch.equal(networks[0].anchors(subnet), networks[1].anchors(subnet))
        first, second = (network(images(resolution), subnet) for network in networks)
        assert first.logits.shape == second.logits.shape
        assert [network.extract(subnet).subnet for network in networks] == [subnet, subnet]


def test_a_detector_of_several_resolutions_ships_at_one(detector: Detector) -> None:
    detector.train()
    detector(images(64), replace(detector.subnet, resolution=64))  # moves the statistics
    shipped = detector.eval().extract(replace(detector.subnet, resolution=64))
    assert not shipped.training
    assert torch.equal(
        shipped(images(64), shipped.subnet).logits, detector(images(64), replace(detector.subnet, resolution=64)).logits
    )
    with pytest.raises(ValueError, match=r"expected a subnet of this network, .*, found r96"):
        shipped(images(96), detector.subnet)
    nn.init.zeros_(next(detector.parameters()))
    assert next(shipped.parameters()).abs().sum() > 0


def test_another_architecture_or_resolution_is_refused(detector: Detector) -> None:
    smallest = detector.config.space.smallest(96)
    for foreign in (smallest, replace(detector.subnet, resolution=128)):
        with pytest.raises(ValueError, match=rf"expected a subnet of this network, .* found {foreign}"):
            detector(images(foreign.resolution), foreign)
        with pytest.raises(ValueError, match="expected a subnet of this network"):
            detector.extract(foreign)
    with pytest.raises(ValueError, match=r"expected images of 96 px, found \(64, 64\)"):
        detector(images(64), detector.subnet)


def test_a_resolution_that_the_neck_cannot_join_is_refused_at_once(open_space: SearchSpace) -> None:
    config = DetectorConfig(num_classes=3, space=open_space)
    with pytest.raises(ValueError, match=r"inputs of one size in 'neck\.sum', .* at 72 px"):
        Detector(config, open_space.largest(96), resolutions=(72, 96))
