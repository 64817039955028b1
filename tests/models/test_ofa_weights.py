"""Once-for-all MobileNetV3: every subnet of a published checkpoint."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from published_layers import convolution, norm, normed
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.detection.preprocessing import normalise
from ofa_det.models.network import Detector
from ofa_det.models.pretrained import load_pretrained
from ofa_det.models.supernet import Supernet

State = Mapping[str, Tensor]
BlockOutputs = Callable[..., list[Tensor]]
SIZE = 64
WIDE = (24, 32, 48, 96, 136, 192, 1152)

# Width, stride, squeeze-excite, h-swish of the stages behind the first block (MobileNetV3, table 1).
OFA = (
    (24, 2, False, False),
    (40, 2, True, False),
    (80, 2, False, True),
    (112, 1, True, True),
    (160, 2, True, True),
)


def ofa_state(widths: tuple[int, ...] = (16, 24, 40, 80, 112, 160, 960), seed: int = 0) -> dict[str, Tensor]:
    """A once-for-all MobileNetV3 of random weights: ratios to 6, kernels to 7, depths to 4.

    Args:
        widths: of the first convolution (and block), the stages, and the last convolution.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    first, *stages, final = widths
    state = convolution("first_conv.conv.weight", first, 3, 3) | norm("first_conv.bn", first)
    block = "blocks.0.mobile_inverted_conv"
    state |= convolution(f"{block}.depth_conv.conv.weight", first, 1, 3) | norm(f"{block}.depth_conv.bn", first)
    state |= convolution(f"{block}.point_linear.conv.weight", first, first) | norm(f"{block}.point_linear.bn", first)
    number, last = 1, first
    for width, (_, _, gated, _) in zip(stages, OFA, strict=True):
        for _ in range(4):
            block, inner = f"blocks.{number}.mobile_inverted_conv", 6 * last
            for part, out, into, kernel in (
                ("inverted_bottleneck", inner, last, 1),
                ("depth_conv", inner, 1, 7),
                ("point_linear", width, inner, 1),
            ):
                state |= convolution(f"{block}.{part}.conv.conv.weight", out, into, kernel)
                state |= norm(f"{block}.{part}.bn.bn", out)
            state[f"{block}.depth_conv.conv.7to5_matrix"] = torch.eye(25) + 0.1 * torch.randn(25, 25)
            state[f"{block}.depth_conv.conv.5to3_matrix"] = torch.eye(9) + 0.1 * torch.randn(9, 9)
            if gated:
                gate, squeezed = f"{block}.depth_conv.se.fc", round_to_8(inner // 4)
                state |= convolution(f"{gate}.reduce.weight", squeezed, inner)
                state |= convolution(f"{gate}.expand.weight", inner, squeezed)
                state |= {f"{gate}.reduce.bias": torch.randn(squeezed), f"{gate}.expand.bias": torch.randn(inner)}
            number, last = number + 1, width
    state |= convolution("final_expand_layer.conv.weight", final, last) | norm("final_expand_layer.bn", final)
    state |= convolution("feature_mix_layer.conv.weight", 1280, final)
    return state | {"classifier.linear.weight": torch.zeros(10, 1280), "classifier.linear.bias": torch.zeros(10)}


def ofa_blocks(state: State, padded: Tensor, subnet: SubnetConfig) -> Iterator[Tensor]:
    """What each block's projection gives, before the sum; last, what the final convolution gives, before its norm.

    Args:
        state: of the network with every choice.
        padded: normalised images with the zeros of the first convolution around them.
        subnet: whose first stage is the first block.
    """
    x = F.conv2d(padded, state["first_conv.conv.weight"], stride=2)
    x = F.hardswish(normed(x, state, "first_conv.bn", 1e-5))
    block, before = "blocks.0.mobile_inverted_conv", x
    x = F.conv2d(x, state[f"{block}.depth_conv.conv.weight"], padding=1, groups=x.shape[1])
    x = F.relu(normed(x, state, f"{block}.depth_conv.bn", 1e-5))
    x = normed(F.conv2d(x, state[f"{block}.point_linear.conv.weight"]), state, f"{block}.point_linear.bn", 1e-5)
    yield x
    x = x + before
    for stage, ((_, first_stride, gated, hswish), choices) in enumerate(zip(OFA, subnet.stages[1:], strict=True)):
        activate = F.hardswish if hswish else F.relu
        for position, choice in enumerate(choices):
            block, before = f"blocks.{1 + 4 * stage + position}.mobile_inverted_conv", x
            inner = round_to_8(x.shape[1] * choice.expand_ratio)
            x = F.conv2d(x, state[f"{block}.inverted_bottleneck.conv.conv.weight"][:inner])
            x = activate(normed(x, state, f"{block}.inverted_bottleneck.bn.bn", 1e-5))
            kernel = _ofa_kernel(state, f"{block}.depth_conv.conv", choice.kernel_size)[:inner]
            stride = first_stride if position == 0 else 1
            x = F.conv2d(x, kernel, stride=stride, padding=choice.kernel_size // 2, groups=inner)
            x = activate(normed(x, state, f"{block}.depth_conv.bn.bn", 1e-5))
            if gated:
                x = x * _ofa_gate(state, f"{block}.depth_conv.se.fc", x)
            x = F.conv2d(x, state[f"{block}.point_linear.conv.conv.weight"][:, :inner])
            x = normed(x, state, f"{block}.point_linear.bn.bn", 1e-5)
            yield x
            x = x + before if x.shape == before.shape else x
    yield F.conv2d(x, state["final_expand_layer.conv.weight"])


def round_to_8(width: int) -> int:
    """The nearest multiple of 8, 4 of 8 upward; 8 at least, and the next one where more than 10 % would be lost."""
    rounded = max(8, (width + 4) // 8 * 8)
    return rounded + 8 if 10 * rounded < 9 * width else rounded


def _ofa_kernel(state: State, layer: str, size: int) -> Tensor:
    kernel = state[f"{layer}.conv.weight"]
    for large, small in ((7, 5), (5, 3)):
        if size <= small:
            centre = kernel[:, :, 1:-1, 1:-1].reshape(len(kernel), small * small)
            kernel = F.linear(centre, state[f"{layer}.{large}to{small}_matrix"]).reshape(-1, 1, small, small)
    return kernel


def _ofa_gate(state: State, gate: str, x: Tensor) -> Tensor:
    inner, squeezed = x.shape[1], round_to_8(x.shape[1] // 4)
    x = x.mean(dim=(2, 3), keepdim=True)
    x = F.conv2d(x, state[f"{gate}.reduce.weight"][:squeezed, :inner], state[f"{gate}.reduce.bias"][:squeezed])
    weight, bias = state[f"{gate}.expand.weight"][:inner, :squeezed], state[f"{gate}.expand.bias"][:inner]
    return F.relu6(F.conv2d(F.relu(x), weight, bias) + 3) / 6


def space(name: str = "ofa_mbv3_w1.0") -> SearchSpace:
    return replace(read_space(name), resolutions=(SIZE,))


def supernet(space: SearchSpace) -> Supernet:
    return Supernet(DetectorConfig.of(space, num_classes=3, anchor_sizes=space.stock_anchors())).eval()


def saved(state: object, folder: Path) -> str:
    torch.save(state, folder / "ofa_mbv3")
    return str(folder / "ofa_mbv3")


def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def normalised_as_theirs(images: Tensor) -> Tensor:
    """By the mean and deviation of ImageNet, with a border of bytes of 128, which are zeros of ours."""
    mean = torch.tensor((0.485, 0.456, 0.406), dtype=torch.double).reshape(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225), dtype=torch.double).reshape(3, 1, 1)
    return (F.pad(images.double(), (1, 1, 1, 1), value=128.0) / 255 - mean) / std


def newer(state: State) -> State:
    """As the state dict of a network of today is spelt."""
    return {key.replace(".mobile_inverted_conv.", ".conv."): value for key, value in state.items()}


@pytest.mark.parametrize("name", ["ofa_mbv3_w1.0", "ofa_mbv3_w1.2"])
def test_every_subnet_computes_what_the_published_one_does(
    name: str, block_outputs: BlockOutputs, tmp_path: Path
) -> None:
    # In double precision, since random weights magnify what is rounded.
    state = {k: v.double() for k, v in (ofa_state() if name == "ofa_mbv3_w1.0" else ofa_state(WIDE)).items()}
    network = supernet(space(name)).double()
    report = load_pretrained(network, saved({"state_dict": state}, tmp_path))
    assert report.elastic
    choices = network.config.space
    subnets = [choices.largest(), choices.smallest(), *(choices.sample(random.Random(seed)) for seed in range(4))]
    for subnet in subnets:
        *expected, last = ofa_blocks(state, normalised_as_theirs(images()), subnet)
        found = block_outputs(network, normalise(images()).double(), subnet)
        assert len(found) == len(expected) == sum(map(len, subnet.stages))
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        assert last.std() > 0.1
    assert not any(layer.startswith("backbone.") for layer in report.left)
    assert {key.partition(".")[0] for key in report.unused} == {"feature_mix_layer", "classifier"}


def test_both_spellings_of_the_keys_and_a_bare_state_dict(tmp_path: Path) -> None:
    state, networks = ofa_state(), [supernet(space()) for _ in range(3)]
    for content, network in zip(({"state_dict": state}, {"state_dict": newer(state)}, state), networks, strict=True):
        load_pretrained(network, saved(content, tmp_path))
    for key, value in networks[0].state_dict().items():
        if key.startswith("backbone."):
            assert all(torch.equal(value, other.state_dict()[key]) for other in networks[1:]), key


def test_the_order_of_its_channels_is_kept(tmp_path: Path) -> None:
    state, network = ofa_state(), supernet(space())
    load_pretrained(network, saved(state, tmp_path))
    theirs = state["blocks.20.mobile_inverted_conv.point_linear.conv.conv.weight"]
    assert torch.equal(network.get_parameter("backbone.stages.5.3.project.weight"), theirs)
    assert torch.equal(
        network.get_parameter("backbone.stages.5.3.depthwise.transforms.3"),
        state["blocks.20.mobile_inverted_conv.depth_conv.conv.5to3_matrix"],
    )


def test_a_last_convolution_of_another_width_is_left(tmp_path: Path) -> None:
    halved = space()
    halved = replace(halved, backbone=replace(halved.backbone, last=replace(halved.backbone.last, width=480)))
    report = load_pretrained(supernet(halved), saved(ofa_state(), tmp_path))
    assert [name for name in report.left if name.startswith("backbone.")] == ["backbone.last"]
    assert "backbone.last.weight" in report.unused


def test_a_detector_gets_its_subnet(block_outputs: BlockOutputs, tmp_path: Path) -> None:
    state = ofa_state()
    subnet = space().smallest()
    detector = Detector(supernet(space()).config, subnet).eval()
    load_pretrained(detector, saved(state, tmp_path))
    *expected, _ = ofa_blocks(state, normalised_as_theirs(images()).float(), subnet)
    for ours, theirs in zip(block_outputs(detector, normalise(images()), subnet), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_weights_of_another_width_or_padding_are_refused(tmp_path: Path) -> None:
    source = saved(ofa_state(WIDE), tmp_path)
    with pytest.raises(ValueError, match=r"found \(24, 3, 3, 3\) for \(16, 3, 3, 3\) in backbone.stem.weight, .* more"):
        load_pretrained(supernet(space()), source)
    with pytest.raises(ValueError, match=r"expected backbone.padding symmetric in the space, as once-for-all .* in "):
        load_pretrained(supernet(space("ssdlite_mbv3")), source)
