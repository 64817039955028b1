import random

import pytest
import torch
from torch import Tensor

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.detection.box_coder import decode
from ofa_det.detection.detections import DetectorOutput
from ofa_det.models.supernet import Supernet


def images(resolution: int, count: int = 2) -> Tensor:
    return torch.randn((count, 3, resolution, resolution), generator=torch.Generator().manual_seed(resolution))


def subnets(space: SearchSpace) -> list[SubnetConfig]:
    """The extremes, one at random, and what has each layer in each of its shapes."""
    return [space.smallest(), space.sample(random.Random(0), 64), *dict.fromkeys(space.covering())]


def run(network: torch.nn.Module, subnet: SubnetConfig) -> DetectorOutput:
    with torch.no_grad():
        return network(images(subnet.resolution), subnet)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_an_extracted_subnet_is_its_supernet_path_bit_for_bit(supernet: Supernet, training: bool) -> None:
    supernet.train(training)
    for subnet in subnets(supernet.config.space):
        path, static = run(supernet, subnet), run(supernet.extract(subnet), subnet)
        assert torch.equal(path.box_codes, static.box_codes), subnet
        assert torch.equal(path.logits, static.logits), subnet
        assert path.logits.std() > 0.01


def test_at_another_resolution_a_box_has_as_many_pixels(supernet: Supernet) -> None:
    """With one anchor size and features that say nothing, boxes are the biases', in pixels about the anchors."""
    plan = supernet.plan(supernet.config.space.largest())
    with torch.no_grad():
        for name in plan.box_outputs:
            if plan[name].weights_of is None:
                supernet.get_parameter(f"{name}.weight").zero_()
                supernet.get_parameter(f"{name}.bias").copy_(
                    torch.tensor([3.0, -2.0, 1.0, 4.0]).repeat(plan[name].out_channels // 4)
                )
    in_pixels = []
    for resolution in (64, 96):
        subnet = supernet.config.space.smallest(resolution)
        anchors = supernet.anchors(subnet)
        boxes = decode(run(supernet, subnet).box_codes[0], anchors)
        first = (
            boxes[: supernet.plan(subnet).anchors_per_cell[0]]
            - anchors[: len(boxes), :2].repeat(1, 2)[: supernet.plan(subnet).anchors_per_cell[0]]
        )
        in_pixels.append(resolution * first)
    torch.testing.assert_close(in_pixels[0], in_pixels[1])


def test_every_choice_of_a_subnet_is_heard(supernet: Supernet) -> None:
    space = supernet.eval().config.space
    smallest = space.smallest()
    logits = [run(supernet, subnet).logits for subnet in (smallest, *space.larger_neighbours(smallest))]
    assert len(logits) > 6
    assert not any(torch.equal(a, b) for i, a in enumerate(logits) for b in logits[:i])


def test_extraction_copies(supernet: Supernet) -> None:
    subnet = supernet.config.space.largest()
    detector = supernet.eval().extract(subnet)
    before = run(supernet, subnet)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.zero_()
    assert torch.equal(run(supernet, subnet).logits, before.logits)
    assert not any(parameter.grad_fn for parameter in detector.parameters())


def test_every_weight_trains_under_the_sandwich(supernet: Supernet) -> None:
    space = supernet.train().config.space
    for subnet in dict.fromkeys(space.covering()):
        output = supernet(images(subnet.resolution), subnet)
        (output.box_codes.square().sum() + output.logits.square().sum()).backward()
    assert [name for name, parameter in supernet.named_parameters() if parameter.grad is None] == []


def test_what_the_supernet_does_not_hold_is_refused(supernet: Supernet) -> None:
    space = supernet.config.space
    foreign = space.largest(128)
    for call in (supernet.extract, lambda subnet: supernet(images(128), subnet)):
        with pytest.raises(ValueError, match=r"expected a subnet of this network, such as r96 .*, found r128"):
            call(foreign)
    with pytest.raises(ValueError, match=r"expected images of 96 px, found \(64, 64\)"):
        supernet(images(64), space.largest(96))
