"""The SSDLite detectors whose phone latencies are published, as layer plans."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from types import MappingProxyType
from typing import Final

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.plan import LayerPlan, PlanBuilder
from ofa_det.latency.published_networks import mnasnet_a1, mobilenet_v1, mobilenet_v2, mobilenet_v3

PIXEL2_OVER_PIXEL1: Final = 1.196
"""float32, mean ratio over the classification networks that are published for both phones."""
PIXEL2_OVER_PIXEL1_ERROR: Final = 0.019

POSTPROCESS: Final = PostProcessConfig(regular_nms=False)
"""Of TensorFlow's exported SSDLite detectors: fast suppression is its default."""

_COLUMNS: Final = 91  # COCO's ids and a background
_EXTRA_LEVELS: Final = (512, 256, 256, 128)


@dataclass(frozen=True, kw_only=True)
class PublishedDetector:
    """A detector and its time.

    Args:
        name, family: of it, and of its backbone.
        plan: its layers.
        pixel2_ms: float32, one thread on a large core: the published Pixel 1 figure times the phones' ratio.
    """

    name: str
    family: str
    plan: LayerPlan
    pixel2_ms: float


def ssdlite(backbone: LayerPlan, *, last: str, taps: tuple[str, str]) -> LayerPlan:
    """A detector on six levels, every predictor a depthwise 3x3 and a 1x1 (Sandler et al. 2018, section 6.2).

    Args:
        backbone: a classifier; what follows `last` is left out.
        last: its last layer that stays.
        taps: the layers that the first two levels read.
    """
    builder = PlanBuilder(backbone.resolution)
    for layer in backbone.layers:
        builder.append(
            layer.name,
            layer.kind,
            layer.out_channels,
            inputs=layer.inputs,
            kernel_size=layer.kernel_size,
            stride=layer.stride,
            activation=layer.activation,
        )
        if layer.name == last:
            break
    levels = list(taps)
    for i, width in enumerate(_EXTRA_LEVELS):
        builder.append(f"extra{i}.reduce", "conv", width // 2, activation="relu6")
        builder.append(f"extra{i}.depthwise", "depthwise", kernel_size=3, stride=2, activation="relu6")
        levels.append(builder.append(f"extra{i}.expand", "conv", width, activation="relu6"))
    outputs: dict[int, list[str]] = {4: [], _COLUMNS: []}
    for i, level in enumerate(levels):
        for values, names in outputs.items():
            name = f"level{i}.{values}"
            builder.append(f"{name}.depthwise", "depthwise", inputs=(level,), kernel_size=3, activation="relu6")
            names.append(builder.append(name, "conv", (3 if i == 0 else 6) * values))
    boxes, scores = map(tuple, outputs.values())
    return LayerPlan(resolution=backbone.resolution, layers=builder.layers, box_outputs=boxes, score_outputs=scores)


_PLANS: Final[Mapping[str, Callable[[], LayerPlan]]] = MappingProxyType(
    {
        "ssdlite_mobilenet_v1_320": lambda: ssdlite(
            mobilenet_v1(1.0, 320), last="12.pointwise", taps=("10.pointwise", "12.pointwise")
        ),
        "ssdlite_mobilenet_v2_320": lambda: ssdlite(mobilenet_v2(1.0, 320), last="last", taps=("5.0.expand", "last")),
        "ssdlite_mnasnet_a1_320": lambda: ssdlite(mnasnet_a1(320), last="last", taps=("5.0.expand", "last")),
    }
    | {
        f"ssdlite_mobilenet_v3_{size}{suffix}_320": partial(
            lambda size, tap, halved: ssdlite(
                mobilenet_v3(size, resolution=320, halved=halved), last="last", taps=(tap, "last")
            ),
            size,
            tap,
            halved,
        )
        for size, tap in (("large", "12.expand"), ("small", "8.expand"))
        for suffix, halved in (("", False), ("_halved", True))
    }
)


def published_detectors() -> tuple[PublishedDetector, ...]:
    """The detectors of MobileNetV3 table 6, timed on a Pixel 1; the Pixel 2's figures follow from the phones' ratio."""
    with resources.files("ofa_det.latency").joinpath("published_detectors.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        PublishedDetector(
            name=row["detector"],
            family=row["family"],
            plan=_PLANS[row["detector"]](),
            pixel2_ms=float(row["pixel1_float32_ms"]) * PIXEL2_OVER_PIXEL1,
        )
        for row in rows
    )
