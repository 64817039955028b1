"""The Pixel 2 (Snapdragon 835), fitted to the published latencies of networks on it."""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from importlib import resources
from math import exp, hypot, log, sqrt
from statistics import fmean
from typing import Final

import numpy as np

from ofa_det.arch.plan import LayerPlan
from ofa_det.latency.calibrated_range import CalibratedRange
from ofa_det.latency.features import POSTPROCESSING, FloatArray, network_features
from ofa_det.latency.fitted_model import ErrorBasis, FittedLatencyModel
from ofa_det.latency.fitting import CostPrior, FittedCosts, TimedNetworks, fit
from ofa_det.latency.latencies import Precision
from ofa_det.latency.leaving_out import LeaveOneOut, leave_one_out
from ofa_det.latency.postprocessing import HOST_LAW, detection_tail
from ofa_det.latency.published_detectors import (
    PIXEL2_OVER_PIXEL1,
    PIXEL2_OVER_PIXEL1_ERROR,
    POSTPROCESS,
    published_detectors,
)
from ofa_det.latency.published_networks import PUBLISHED_NETWORKS

DEFAULT_RUNTIME: Final = "tflite-2019-v3"
"""The TensorFlow Lite of the MobileNetV3 authors: the newest with published uint8 figures on a Pixel 2."""

EXCLUDED: Final = "decoding and resizing the image"

ENOUGH_NETWORKS: Final = 10
"""On one runtime, for its error to stand on its own."""
POSTPROCESSING_ERROR: Final = 0.3
"""Relative standard error of post-processing: by how much phones differ in what makes it slower than on the host."""
REGULAR_NMS: Final = (
    "regular NMS: no published figure; scaled from host measurements by the factor that published detectors with fast "
    "NMS give"
)

# Costs by feature, in the order of FEATURES: pointwise MACs and elements, convolution, depthwise 3x3, 5x5
# and 7x7 MACs, depthwise elements, element-wise and h-swish elements, vector weights, ops, post-processing.
#
# float32: orders of magnitude for a core of 9.4 GMAC/s, from nothing measured; post-processing as much slower than on
# the host as an element-wise op, 0.71 against 0.13 ms per million elements.
# uint8: the published per-op profile of quantized MobileNetV1 gives 0.088 ms per pointwise MMAC, 3.13 per Melement,
# 0.4 per MMAC of the first convolution, and, from depthwise layers of stride 1 (1.7-2.9 GMAC/s) and 2 (1.3-1.5),
# 0.25 per MMAC and 0.83 per Melement; element-wise ops are taken to cost half as much per element as pointwise ones.
# That profile is of the runtime before the fastest, 10 % slower.
_FLOAT32_COSTS: Final = (0.125, 1.5, 0.15, 0.2, 0.2, 0.2, 0.8, 0.7, 0.7, 0.5, 0.01, 5.5)
_UINT8_PROFILE: Final = np.array([0.088, 3.13, 0.4, 0.25, 0.25, 0.25, 0.83, 1.5, 1.5, 1.2, 0.01, 5.5]) / 1.1

# Snapdragon 835 at 2.35 GHz, ARMv8.0 without dot product instructions.
_FLOAT32_PRIOR: Final = CostPrior(costs=_FLOAT32_COSTS, peak_gmacs_per_s=9.4, fastest_runtime="xnnpack-2020")
_UINT8_PEAK_GMACS_PER_S: Final = 12.5
# Two sources that differ by a factor of two are averaged: 0.5 / sqrt(2).
_UINT8_SIGMA: Final = 0.35
_UINT8_KERNEL_SIGMA: Final = 0.15


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
    return FittedLatencyModel(
        device="pixel2",
        runtime=runtime,
        precision=precision,
        threads=1,
        fitted=_fitted(precision),
        errors=_error_basis(precision, runtime),
        calibrated=_calibrated(precision),
        law=HOST_LAW,
        excluded=EXCLUDED,
    )


def pixel2_runtimes(precision: Precision) -> tuple[str, ...]:
    """The runtimes with published figures of at least two networks, of which each can check the other."""
    timed = pixel2_published(precision)
    counts = Counter(runtime for runtime, _ in set(zip(timed.runtimes, timed.networks, strict=True)))
    return tuple(sorted(runtime for runtime, networks in counts.items() if networks > 1))


@cache
def pixel2_published(precision: Precision) -> TimedNetworks:
    """Latencies of classifiers on one thread on a large core, batch 1.

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
def pixel2_detectors() -> TimedNetworks:
    """Latencies of float32 SSDLite detectors, post-processing included, by the MobileNetV3 authors.

    They fix what post-processing costs: without it, the same fit is 1 to 11 % below all seven.
    """
    detectors = published_detectors()
    return TimedNetworks(
        features=np.array([detector_features(detector.plan) for detector in detectors]),
        latencies_ms=np.array([detector.pixel2_ms for detector in detectors]),
        runtimes=(DEFAULT_RUNTIME,) * len(detectors),
        networks=tuple(detector.name for detector in detectors),
        families=tuple(detector.family for detector in detectors),
    )


def detector_features(plan: LayerPlan) -> FloatArray:
    """The features of a published detector: (len(FEATURES),)."""
    features = network_features(plan.layers)
    features[POSTPROCESSING] = HOST_LAW.tail_ms(detection_tail(plan, POSTPROCESS, precision="float32"))
    return features


@cache
def pixel2_errors(precision: Precision) -> LeaveOneOut:
    """Errors of networks, and in float32 detectors, that the fit had not seen."""
    if precision == "float32":
        return leave_one_out(_float32_rows(), lambda timed, _: fit(timed, _FLOAT32_PRIOR))
    return leave_one_out(pixel2_published("uint8"), _fit_uint8)


def errors_of_unseen_detectors() -> FloatArray:
    """Relative errors of the float32 detectors by a fit to classifiers alone: post-processing is as expected then."""
    fitted, detectors = fit(pixel2_published("float32"), _FLOAT32_PRIOR), pixel2_detectors()
    rows = zip(detectors.features, detectors.runtimes, strict=True)
    return np.array([fitted.predict_ms(*row) for row in rows]) / detectors.latencies_ms - 1


def _float32_rows() -> TimedNetworks:
    return pixel2_published("float32").joined(pixel2_detectors())


@cache
def _fitted(precision: Precision) -> FittedCosts:
    if precision == "float32":
        return fit(_float32_rows(), _FLOAT32_PRIOR)
    return _fit_uint8(pixel2_published("uint8"), frozenset())


def _fit_uint8(timed: TimedNetworks, left_out: frozenset[str]) -> FittedCosts:
    """Fits the costs of uint8 kernels, which are tied to those of float32.

    The prior on each cost is the geometric mean of the published per-op profile and of float32's cost times the mean
    ratio of uint8 over float32 latencies. Larger depthwise kernels are taken to cost as much more as in float32.

    Args:
        timed: uint8 latencies.
        left_out: networks or families whose float32 latencies are not used either.
    """
    rows = _float32_rows()
    seen = [not left_out.intersection(names) for names in zip(rows.networks, rows.families, strict=True)]
    rows = rows.select(np.array(seen))
    floats = fit(rows, _FLOAT32_PRIOR)
    float_ms = dict(zip(zip(rows.networks, rows.runtimes, strict=True), rows.latencies_ms.tolist(), strict=True))
    ratios = [
        log(ms / float_ms[network, runtime])
        for network, runtime, ms in zip(timed.networks, timed.runtimes, timed.latencies_ms.tolist(), strict=True)
        if runtime == DEFAULT_RUNTIME and (network, runtime) in float_ms
    ]
    ratio = exp(fmean(ratios)) if ratios else 1.0
    # The costs are those of the runtime that is uint8's fastest.
    from_floats = floats.costs * floats.scales[DEFAULT_RUNTIME] * ratio
    costs = np.sqrt(_UINT8_PROFILE * from_floats)
    costs[POSTPROCESSING] = floats.costs[POSTPROCESSING] * floats.scales[DEFAULT_RUNTIME]  # It is float32 there, too.
    prior = CostPrior(
        costs=tuple(costs.tolist()),
        peak_gmacs_per_s=_UINT8_PEAK_GMACS_PER_S,
        fastest_runtime=DEFAULT_RUNTIME,
        sigma=_UINT8_SIGMA,
        kernel_ratios=floats.kernel_ratios,
        kernel_sigma=_UINT8_KERNEL_SIGMA,
    )
    return fit(timed, prior)


def _error_basis(precision: Precision, runtime: str) -> ErrorBasis:
    """The error on a runtime with few networks is at least that over all runtimes: few may err alike."""
    errors = pixel2_errors(precision)
    here = errors.on(runtime)
    detectors = pixel2_errors("float32").select(pixel2_errors("float32").timed.are_detectors)
    # What the phones' ratio adds to figures that were converted from a Pixel 1's.
    of_detectors = hypot(detectors.family_rms, PIXEL2_OVER_PIXEL1_ERROR / PIXEL2_OVER_PIXEL1)
    own_detectors = int(here.timed.are_detectors.sum())
    counts = f"{here.networks} published {precision} networks of {here.families} families on {runtime}"
    if own_detectors:
        counts += f", {own_detectors} of them SSDLite detectors timed on a Pixel 1"
    else:
        counts += f"; no detector is published in {precision} there, the {detectors.networks} in float32 stand for them"
    return ErrorBasis(
        network=_rms(here) if here.networks >= ENOUGH_NETWORKS else max(_rms(here), _rms(errors)),
        detector=PIXEL2_OVER_PIXEL1_ERROR / PIXEL2_OVER_PIXEL1 if own_detectors else of_detectors,
        postprocessing=POSTPROCESSING_ERROR,
        rests_on=counts,
        source=(
            f"leave-one-out error on {runtime}: network {here.network_mean:.1%} mean, {here.network_worst:.1%} worst; "
            f"family {here.family_mean:.1%} mean, {here.family_worst:.1%} worst; over all {errors.networks} "
            f"{precision} networks on any runtime family {errors.family_rms:.1%} root mean square; SSDLite detectors "
            f"(float32) {detectors.network_mean:.1%} mean, {detectors.network_worst:.1%} worst"
        ),
        regular_nms=REGULAR_NMS,
    )


def _rms(errors: LeaveOneOut) -> float:
    """Of a prediction of another family; of another network where a family cannot be left out."""
    found = np.where(np.isnan(errors.by_family), errors.by_network, errors.by_family)
    return sqrt(float(np.nanmean(found**2)))


@cache
def _calibrated(precision: Precision) -> CalibratedRange:
    names = sorted(set(pixel2_published(precision).networks))
    networks = [PUBLISHED_NETWORKS[name]().layers for name in names]
    if precision == "float32":
        networks += [detector.plan.layers for detector in published_detectors()]
    return CalibratedRange.of(f"timed {precision} network", networks)
