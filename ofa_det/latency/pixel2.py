"""The Pixel 2 (Snapdragon 835), fitted to the published latencies of classification networks on it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

import numpy as np

from ofa_det.latency.features import network_features
from ofa_det.latency.fitting import (
    CostPrior,
    FittedCosts,
    FittedLatencyModel,
    LeaveOneOut,
    TimedNetworks,
    fit,
    leave_one_out,
)
from ofa_det.latency.latencies import Precision
from ofa_det.latency.published_networks import PUBLISHED_NETWORKS

DEFAULT_RUNTIME: Final = "tflite-2019-v3"
"""The TensorFlow Lite of the MobileNetV3 authors: the newest with published uint8 figures on a Pixel 2."""

EXCLUDED: Final = "post-processing: sigmoid and TFLite_Detection_PostProcess (no published Pixel 2 figure)"

# Costs by feature, in the order of FEATURES: pointwise MACs and elements, convolution, depthwise 3x3 and 5x5 MACs,
# depthwise elements, element-wise elements, vector weights, ops.
#
# float32: orders of magnitude for a core of 9.4 GMAC/s, from nothing measured.
# uint8: the published per-op profile of quantized MobileNetV1 gives 0.088 ms per pointwise MMAC, 3.13 per Melement,
# 0.4 per MMAC of the first convolution, and, from depthwise layers of stride 1 (1.7-2.9 GMAC/s) and 2 (1.3-1.5),
# 0.25 per MMAC and 0.83 per Melement; 5x5 is taken to cost as much per MAC, element-wise ops half as much per element
# as pointwise ones. That profile is of the runtime before the fastest, 10 % slower.
_FLOAT32_COSTS: Final = (0.125, 1.5, 0.15, 0.2, 0.2, 0.8, 0.7, 0.5, 0.01)
_UINT8_COSTS: Final = tuple(cost / 1.1 for cost in (0.088, 3.13, 0.4, 0.25, 0.25, 0.83, 1.5, 1.2, 0.01))

# Snapdragon 835 at 2.35 GHz, ARMv8.0 without dot product instructions.
_PRIORS: Final[Mapping[Precision, CostPrior]] = MappingProxyType(
    {
        "float32": CostPrior(costs=_FLOAT32_COSTS, peak_gmacs_per_s=9.4, fastest_runtime="xnnpack-2020"),
        "uint8": CostPrior(costs=_UINT8_COSTS, peak_gmacs_per_s=12.5, fastest_runtime="tflite-2019-v3"),
    }
)


@cache
def pixel2_model(precision: Precision, runtime: str | None = None) -> FittedLatencyModel:
    """The model of one thread on a large core.

    Runtime matters more than the model's error: MobileNetV2 in uint8 went from 80 to 53 to 48 ms in a year. Figures of
    XNNPACK's int8 kernels on this phone are not published.

    Args:
        precision: of the network.
        runtime: one of `pixel2_runtimes`; by default what the MobileNetV3 authors used.

    Raises:
        ValueError: a runtime without published figures.
    """
    runtime = runtime or DEFAULT_RUNTIME
    if runtime not in pixel2_runtimes(precision):
        known = ", ".join(pixel2_runtimes(precision))
        raise ValueError(f"expected a runtime with published {precision} figures ({known}), found {runtime!r}")
    fitted, errors = _fit(precision)
    return FittedLatencyModel(
        device="pixel2",
        runtime=runtime,
        precision=precision,
        threads=1,
        fitted=fitted,
        leave_one_out=errors,
        excluded=EXCLUDED,
    )


def pixel2_runtimes(precision: Precision) -> tuple[str, ...]:
    """The runtimes with published figures of at least two networks, of which each can check the other."""
    timed = pixel2_published(precision)
    counts = Counter(runtime for runtime, _ in set(zip(timed.runtimes, timed.networks, strict=True)))
    return tuple(sorted(runtime for runtime, networks in counts.items() if networks > 1))


@cache
def pixel2_published(precision: Precision) -> TimedNetworks:
    """Latencies on one thread on a large core, batch 1.

    `runtime` says which TensorFlow Lite was timed: `tflite-2018` and `tflite-2019` its hosted models and benchmark
    pages, `tflite-2019-v3` what the MobileNetV3 authors used, `xnnpack-2020` XNNPACK alone in March 2020. The
    once-for-all authors name no runtime; their figures fit `tflite-2019-v3` within 5 % and stand there.
    `tflite-2018-early` is a single uint8 figure, of MobileNetV2, half as slow again as the pages that followed; as a
    runtime of its own it has no say in the costs.
    """
    with resources.files("ofa_det.latency").joinpath("pixel2_published.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[f"{precision}_ms"]]
    return TimedNetworks(
        features=np.array([network_features(PUBLISHED_NETWORKS[row["network"]]().layers) for row in rows]),
        latencies_ms=np.array([float(row[f"{precision}_ms"]) for row in rows]),
        runtimes=tuple(row["runtime"] for row in rows),
        networks=tuple(row["network"] for row in rows),
        families=tuple(row["family"] for row in rows),
    )


@cache
def _fit(precision: Precision) -> tuple[FittedCosts, LeaveOneOut]:
    timed, prior = pixel2_published(precision), _PRIORS[precision]
    return fit(timed, prior), leave_one_out(timed, prior)
