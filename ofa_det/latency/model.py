"""Latency of a network on a phone, with the error to expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ofa_det.arch.layer_plan import Layer
from ofa_det.latency.features import layer_features
from ofa_det.latency.fitting import CostPrior, FittedCosts, FloatArray, fit, leave_one_out
from ofa_det.latency.precision import PRECISIONS, Precision
from ofa_det.latency.published_latencies import pixel2_published

DEFAULT_RUNTIME: Final = "tflite-2019-v3"
"""The TensorFlow Lite of the MobileNetV3 authors: the newest with published uint8 figures on a Pixel 2."""

EXCLUDED: Final = "TFLite_Detection_PostProcess (no published Pixel 2 figure)"
"""What no prediction counts."""

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
PIXEL2_PRIORS: Final[Mapping[Precision, CostPrior]] = MappingProxyType(
    {
        "float32": CostPrior(costs=_FLOAT32_COSTS, peak_gmacs_per_s=9.4, fastest_runtime="xnnpack-2020"),
        "uint8": CostPrior(costs=_UINT8_COSTS, peak_gmacs_per_s=12.5, fastest_runtime="tflite-2019-v3"),
    }
)


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutError:
    """Relative errors, as fractions, of networks predicted by fits that had not seen them.

    Args:
        network_mean, network_worst: absolute error when all figures of one network are left out.
        family_mean, family_worst: absolute error when all figures of one family (MobileNetV1, V2, V3, MnasNet,
            once-for-all) are left out.
        family_rms: root mean square of the latter; the standard error of a prediction.
        networks: number of distinct networks.
    """

    network_mean: float
    network_worst: float
    family_mean: float
    family_worst: float
    family_rms: float
    networks: int


@dataclass(frozen=True, kw_only=True)
class LayerLatency:
    """A layer's part of the predicted latency."""

    name: str
    kind: str
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class LatencyPrediction:
    """A predicted latency of one image.

    Args:
        mean_ms: expected latency.
        error_ms: one standard error: `mean_ms` x `leave_one_out.family_rms`, since a detector is of no fitted family.
        device, runtime, precision, threads: what it is the latency of.
        macs, parameters: of the layers.
        leave_one_out: of the model that predicted.
        layers: each layer's part, in the network's order.
        excluded: what is not counted.
    """

    mean_ms: float
    error_ms: float
    device: str
    runtime: str
    precision: Precision
    threads: int
    macs: int
    parameters: int
    leave_one_out: LeaveOneOutError
    layers: tuple[LayerLatency, ...]
    excluded: str = EXCLUDED

    def __str__(self) -> str:
        """`35.1 ms ± 2.1 ms`."""
        return f"{self.mean_ms:.1f} ms ± {self.error_ms:.1f} ms"

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types, with a `schema_version`."""
        return {"schema_version": 1, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class LatencyModel:
    """Latency as a sum over layers.

    Args:
        device: name of the phone.
        runtime: name of the software.
        precision: of the network.
        threads: CPU threads.
        fitted: costs of features.
        leave_one_out: of the fit, over all its runtimes.
    """

    device: str
    runtime: str
    precision: Precision
    threads: int
    fitted: FittedCosts
    leave_one_out: LeaveOneOutError

    def predict(self, layers: Iterable[Layer]) -> LatencyPrediction:
        """Predicts the latency of one image.

        Args:
            layers: of a layer plan or of a `.tflite` file.

        Returns:
            The latency without the post-processing op.
        """
        layers = tuple(layers)
        parts = tuple(
            LayerLatency(
                name=layer.name,
                kind=layer.kind,
                latency_ms=self.fitted.predict_ms(layer_features(layer), self.runtime),
            )
            for layer in layers
        )
        mean_ms = sum(part.latency_ms for part in parts)
        return LatencyPrediction(
            mean_ms=mean_ms,
            error_ms=mean_ms * self.leave_one_out.family_rms,
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            macs=sum(layer.macs for layer in layers),
            parameters=sum(layer.parameters for layer in layers),
            leave_one_out=self.leave_one_out,
            layers=parts,
        )


def pixel2_runtimes(precision: Precision) -> tuple[str, ...]:
    """The runtimes with published figures of at least two networks, of which each can check the other."""
    timed = pixel2_published(precision)
    counts = Counter(runtime for runtime, _ in set(zip(timed.runtimes, timed.networks, strict=True)))
    return tuple(sorted(runtime for runtime, networks in counts.items() if networks > 1))


@cache
def pixel2_model(precision: Precision = "uint8", runtime: str = DEFAULT_RUNTIME) -> LatencyModel:
    """The model of one thread on a large core of a Pixel 2, fitted to the published figures in the package.

    Runtime matters more than the model's error: MobileNetV2 in uint8 went from 80 to 53 to 48 ms in a year. Figures of
    XNNPACK's int8 kernels on this phone are not published.

    Args:
        precision: "uint8" (8-bit quantized) or "float32".
        runtime: one of `pixel2_runtimes`; by default what the MobileNetV3 authors used.

    Raises:
        ValueError: a precision or runtime without published figures.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, found {precision!r}")
    if runtime not in pixel2_runtimes(precision):
        known = ", ".join(pixel2_runtimes(precision))
        raise ValueError(f"expected a runtime with published {precision} figures ({known}), found {runtime!r}")
    return LatencyModel(
        device="pixel2",
        runtime=runtime,
        precision=precision,
        threads=1,
        fitted=_pixel2_fit(precision),
        leave_one_out=_pixel2_leave_one_out(precision),
    )


@cache
def pixel2_errors(precision: Precision) -> tuple[FloatArray, FloatArray]:
    """Relative error of each row of `pixel2_published`, its network or its family left out: (N,) and (N,)."""
    timed, prior = pixel2_published(precision), PIXEL2_PRIORS[precision]
    return leave_one_out(timed, prior, timed.networks), leave_one_out(timed, prior, timed.families)


@cache
def _pixel2_fit(precision: Precision) -> FittedCosts:
    return fit(pixel2_published(precision), PIXEL2_PRIORS[precision])


@cache
def _pixel2_leave_one_out(precision: Precision) -> LeaveOneOutError:
    # Not a number: nothing else was timed on that runtime.
    by_network, by_family = (np.abs(errors[~np.isnan(errors)]) for errors in pixel2_errors(precision))
    return LeaveOneOutError(
        network_mean=float(by_network.mean()),
        network_worst=float(by_network.max()),
        family_mean=float(by_family.mean()),
        family_worst=float(by_family.max()),
        family_rms=float(np.sqrt(np.mean(by_family**2))),
        networks=len(set(pixel2_published(precision).networks)),
    )
