"""The classification networks whose phone latencies are published, as layer plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from ofa_det.arch.detector import classifier_plan
from ofa_det.arch.layers import Activation
from ofa_det.arch.plan import LayerPlan, PlanBuilder, make_divisible
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space

NUM_CLASSES: Final = 1000

# Rows of MobileNetV3 tables 1 and 2: kernel, expanded, out, squeeze-excite, h-swish, stride.
_V3_LARGE: Final = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
_V3_SMALL: Final = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
# MobileNetV2 table 2: expand ratio, out, blocks, stride of the first.
_V2: Final = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# MnasNet figure 7 (A1): kernel, expand ratio, out, blocks, stride of the first, squeeze-excite.
_MNASNET_A1: Final = (
    (3, 1, 16, 1, 1, False),
    (3, 6, 24, 2, 2, False),
    (5, 3, 40, 3, 2, True),
    (3, 6, 80, 4, 2, False),
    (3, 6, 112, 2, 1, True),
    (5, 6, 160, 3, 2, True),
    (3, 6, 320, 1, 1, False),
)
# ProxylessNAS figure 4 (mobile): out, stride of the first, then k<kernel>e<expand ratio> of each block.
_PROXYLESS_MOBILE: Final = (
    (16, 1, "k3e1"),
    (32, 2, "k5e3 k3e3"),
    (40, 2, "k7e3 k3e3 k5e3 k5e3"),
    (80, 2, "k7e6 k5e3 k5e3 k5e3"),
    (96, 1, "k5e6 k5e3 k5e3 k5e3"),
    (192, 2, "k7e6 k7e6 k7e3 k7e3"),
    (320, 1, "k7e6"),
)
# Once-for-all networks specialised for Pixel 2, 25 ms and 50 ms (finetune-25).
_OFA_PIXEL2_25MS: Final = "r144 k3e1 k3e3.k3e3 k5e6.k5e4 k7e4.k3e3 k7e4.k7e3.k3e4 k5e6.k3e4"
_OFA_PIXEL2_50MS: Final = "r208 k3e1 k3e3.k3e4 k3e3.k3e3 k3e3.k5e6 k5e6.k7e4 k3e6.k5e3.k7e4.k5e3"


def mobilenet_v1(width_mult: float, resolution: int) -> LayerPlan:
    """MobileNetV1 (Howard et al. 2017, table 1)."""
    builder = PlanBuilder(resolution)
    builder.append("stem", "conv", _v1_width(32, width_mult), kernel_size=3, stride=2, activation="relu6")
    widths = (64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)
    for i, width in enumerate(widths):
        stride = 2 if i in (1, 3, 5, 11) else 1
        builder.append(f"{i}.depthwise", "depthwise", kernel_size=3, stride=stride, activation="relu6")
        builder.append(f"{i}.pointwise", "conv", _v1_width(width, width_mult), activation="relu6")
    return _classified(builder, resolution)


def mobilenet_v2(width_mult: float, resolution: int) -> LayerPlan:
    """MobileNetV2 (Sandler et al. 2018, table 2); the last width never shrinks."""
    builder = _stemmed(resolution, make_divisible(32 * width_mult), "relu6")
    for stage, (ratio, width, blocks, stride) in enumerate(_V2):
        for i in range(blocks):
            _block(builder, f"{stage}.{i}", make_divisible(width * width_mult), 3, ratio, stride if i == 0 else 1)
    builder.append("last", "conv", make_divisible(1280 * max(1.0, width_mult)), activation="relu6")
    return _classified(builder, resolution)


def mobilenet_v3(
    size: str, width_mult: float = 1.0, resolution: int = 224, *, minimalistic: bool = False, halved: bool = False
) -> LayerPlan:
    """MobileNetV3 (Howard et al. 2019, tables 1 and 2).

    Args:
        size: "large" or "small".
        width_mult: factor on all widths but that of the layer after the pool.
        resolution: side of the input, in pixels.
        minimalistic: the variant with 3x3 kernels and ReLU alone, without squeeze-excite.
        halved: half the channels in all that follows the expansion of the first block of stride 32, as detectors have
            it (section 6.3).
    """
    rows, last, mix = (_V3_LARGE, 960, 1280) if size == "large" else (_V3_SMALL, 576, 1024)
    smooth: Activation = "relu" if minimalistic else "hswish"
    builder = _stemmed(resolution, make_divisible(16 * width_mult), smooth)
    in_width = 16
    coarse = len(rows) - 3  # The first block of stride 32.
    for i, (kernel_size, expanded, full_width, gated, hswish, stride) in enumerate(rows):
        width = full_width // 2 if halved and i >= coarse else full_width
        expanded = expanded // 2 if halved and i > coarse else expanded
        # The authors' code keeps the expand ratio, not the expanded width, when widths are scaled.
        scaled = make_divisible(builder.channels(builder.last) * expanded / in_width)
        in_width = width
        builder.residual_block(
            str(i),
            make_divisible(width * width_mult),
            kernel_size=3 if minimalistic else kernel_size,
            stride=stride,
            expanded=scaled,
            activation=smooth if hswish else "relu",
            squeezed=make_divisible(scaled / 4) if gated and not minimalistic else 0,
            expand=scaled != builder.channels(builder.last),
        )
    last = last // 2 if halved else last
    builder.append("last", "conv", make_divisible(last * width_mult), activation=smooth)
    builder.append("pool", "pool")
    builder.append("mix", "conv", mix, activation=smooth)
    builder.append("linear", "fully_connected", NUM_CLASSES)
    return LayerPlan(resolution=resolution, layers=builder.layers)


def mnasnet_a1(resolution: int = 224) -> LayerPlan:
    """MnasNet-A1 (Tan et al. 2019, figure 7)."""
    builder = _stemmed(resolution, 32, "relu")
    for stage, (kernel_size, ratio, width, blocks, stride, gated) in enumerate(_MNASNET_A1):
        for i in range(blocks):
            squeezed = builder.channels(builder.last) // 4 if gated else 0
            _block(builder, f"{stage}.{i}", width, kernel_size, ratio, stride if i == 0 else 1, squeezed)
    builder.append("last", "conv", 1280, activation="relu")
    return _classified(builder, resolution)


def proxylessnas_mobile(resolution: int = 224) -> LayerPlan:
    """ProxylessNAS for mobile phones (Cai et al. 2019, figure 4)."""
    builder = _stemmed(resolution, 32, "relu6")
    for stage, (width, stride, blocks) in enumerate(_PROXYLESS_MOBILE):
        for i, block in enumerate(blocks.split()):
            kernel_size, ratio = (int(digits) for digits in block[1:].split("e"))
            _block(builder, f"{stage}.{i}", width, kernel_size, ratio, stride if i == 0 else 1)
    builder.append("last", "conv", 1280, activation="relu6")
    return _classified(builder, resolution)


def ofa_classifier(subnet: str) -> LayerPlan:
    """A published once-for-all classifier of width 1.0 (Cai et al. 2020)."""
    return classifier_plan(read_space("ofa_mbv3_w1.0").backbone, SubnetConfig.parse(subnet))


PUBLISHED_NETWORKS: Final[Mapping[str, Callable[[], LayerPlan]]] = MappingProxyType(
    {
        f"mobilenet_v1_{width}_{resolution}": partial(mobilenet_v1, width, resolution)
        for width in (0.25, 0.5, 0.75, 1.0)
        for resolution in (128, 160, 192, 224)
    }
    | {f"mobilenet_v2_{width}_224": partial(mobilenet_v2, width, 224) for width in (0.35, 1.0)}
    | {
        f"mobilenet_v3_{size}_{width}_224": partial(mobilenet_v3, size, width)
        for size in ("large", "small")
        for width in (0.75, 1.0)
    }
    | {
        "mobilenet_v3_large_minimalistic_1.0_224": partial(mobilenet_v3, "large", minimalistic=True),
        "mnasnet_a1_224": mnasnet_a1,
        "proxylessnas_mobile_224": proxylessnas_mobile,
        "ofa_pixel2_25ms": partial(ofa_classifier, _OFA_PIXEL2_25MS),
        "ofa_pixel2_50ms": partial(ofa_classifier, _OFA_PIXEL2_50MS),
    }
)
"""Builders of the plans by name."""


def _v1_width(width: int, width_mult: float) -> int:
    return max(8, int(width * width_mult))


def _stemmed(resolution: int, width: int, activation: Activation) -> PlanBuilder:
    builder = PlanBuilder(resolution)
    builder.append("stem", "conv", width, kernel_size=3, stride=2, activation=activation)
    return builder


def _block(
    builder: PlanBuilder, name: str, width: int, kernel_size: int, ratio: int, stride: int, squeezed: int = 0
) -> None:
    builder.residual_block(
        name,
        width,
        kernel_size=kernel_size,
        stride=stride,
        expanded=builder.channels(builder.last) * ratio,
        activation="relu6",
        squeezed=squeezed,
        expand=ratio > 1,
    )


def _classified(builder: PlanBuilder, resolution: int) -> LayerPlan:
    builder.append("pool", "pool")
    builder.append("linear", "fully_connected", NUM_CLASSES)
    return LayerPlan(resolution=resolution, layers=builder.layers)
