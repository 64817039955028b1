"""A latency model whose costs of layer features are fitted to latencies of whole networks.

latency = scale of the runtime x sum over features (cost x feature). Logarithms of costs and scales are fitted by least
squares on the logarithm of latency, that is on relative error, with a normal prior on each. Costs are therefore
positive: non-negative least squares on the Pixel 2 figures sets two to four of nine to zero, depthwise 3x3 among them,
and a search would exploit every one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from ofa_det.arch.layers import Layer
from ofa_det.latency.features import FEATURES, FloatArray, layer_features
from ofa_det.latency.latencies import LatencyPrediction, LayerLatency, Precision

LATENCY_SIGMA: Final = 0.05
"""Relative error of one latency: republished figures differ by 1-7 %, and the features are not the whole truth."""
COST_SIGMA: Final = 0.5
"""Relative width of the prior on each cost: a factor of 1.6 either way is one standard deviation."""
SCALE_CENTRE: Final = 0.3
SCALE_SIGMA: Final = 1.0
"""Prior on the log of a runtime's scale over the fastest runtime; wide enough not to matter."""


@dataclass(frozen=True, kw_only=True)
class CostPrior:
    """What is known of a core before any network is timed on it.

    Args:
        costs: expected milliseconds per unit of each of `FEATURES`, on the fastest runtime.
        peak_gmacs_per_s: multiply-accumulates that the core can issue; no cost falls below this bound.
        fastest_runtime: the runtime whose scale is 1; the others' are at least 1.
    """

    costs: tuple[float, ...]
    peak_gmacs_per_s: float
    fastest_runtime: str

    def __post_init__(self) -> None:
        if len(self.costs) != len(FEATURES) or min(self.costs) <= 0:
            raise ValueError(f"expected {len(FEATURES)} positive costs, found {list(self.costs)}")
        if self.peak_gmacs_per_s <= 0:
            raise ValueError(f"expected peak_gmacs_per_s > 0, found {self.peak_gmacs_per_s}")


@dataclass(frozen=True, kw_only=True)
class TimedNetworks:
    """Latencies of N whole networks; the same network may be timed on several runtimes.

    Args:
        features: (N, len(FEATURES)).
        latencies_ms: (N,).
        runtimes, networks, families: N names each.
    """

    features: FloatArray
    latencies_ms: FloatArray
    runtimes: tuple[str, ...]
    networks: tuple[str, ...]
    families: tuple[str, ...]

    def select(self, rows: npt.NDArray[np.bool_]) -> TimedNetworks:
        """The rows where `rows` (N,) holds."""
        kept = np.flatnonzero(rows)
        return TimedNetworks(
            features=self.features[kept],
            latencies_ms=self.latencies_ms[kept],
            runtimes=tuple(self.runtimes[i] for i in kept),
            networks=tuple(self.networks[i] for i in kept),
            families=tuple(self.families[i] for i in kept),
        )


@dataclass(frozen=True, kw_only=True)
class FittedCosts:
    """The result of a fit.

    Args:
        costs: (len(FEATURES),) milliseconds per unit on the fastest runtime.
        scales: by runtime, factor on all costs.
    """

    costs: FloatArray
    scales: Mapping[str, float]

    def predict_ms(self, features: FloatArray, runtime: str) -> float:
        """Milliseconds of a layer or network of the given features: (len(FEATURES),)."""
        return float(features @ self.costs) * self.scales[runtime]


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """Relative errors of N networks, each predicted by a fit that had not seen it.

    An error is predicted over published latency, less 1; not a number where nothing else was timed on the runtime.

    Args:
        timed: the networks.
        by_network: (N,), all figures of the network left out.
        by_family: (N,), all figures of its family (MobileNetV1, V2, V3, MnasNet, once-for-all) left out.
    """

    timed: TimedNetworks
    by_network: FloatArray
    by_family: FloatArray

    @cached_property
    def network_mean(self) -> float:
        """Mean absolute error, one network left out."""
        return float(np.nanmean(np.abs(self.by_network)))

    @cached_property
    def network_worst(self) -> float:
        """Greatest absolute error, one network left out."""
        return float(np.nanmax(np.abs(self.by_network)))

    @cached_property
    def family_mean(self) -> float:
        """Mean absolute error, one family left out."""
        return float(np.nanmean(np.abs(self.by_family)))

    @cached_property
    def family_worst(self) -> float:
        """Greatest absolute error, one family left out."""
        return float(np.nanmax(np.abs(self.by_family)))

    @cached_property
    def family_rms(self) -> float:
        """Root mean square error, one family left out: the standard error of a prediction of another family."""
        return float(np.sqrt(np.nanmean(self.by_family**2)))

    def __str__(self) -> str:
        """The figures as a sentence without its full stop."""
        return (
            f"leave-one-out error over {len(set(self.timed.networks))} published networks: network "
            f"{self.network_mean:.1%} mean, {self.network_worst:.1%} worst; family {self.family_mean:.1%} mean, "
            f"{self.family_worst:.1%} worst, {self.family_rms:.1%} root mean square (the ±)"
        )


@dataclass(frozen=True, kw_only=True)
class FittedLatencyModel:
    """Latency as a sum over layers; implements `LatencyModel`.

    Args:
        device, runtime, precision, threads: what it is the model of.
        fitted: costs of features.
        leave_one_out: errors of the fit, over all its runtimes. A detector is of no fitted family.
        excluded: what no prediction counts.
    """

    device: str
    runtime: str
    precision: Precision
    threads: int
    fitted: FittedCosts
    leave_one_out: LeaveOneOut
    excluded: str

    def predict(self, layers: Iterable[Layer]) -> LatencyPrediction:
        """Predicts the latency of one image from the layers of a plan or of a `.tflite` file."""
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
            error_source=str(self.leave_one_out),
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            macs=sum(layer.macs for layer in layers),
            parameters=sum(layer.parameters for layer in layers),
            layers=parts,
            excluded=self.excluded,
        )


def fit(timed: TimedNetworks, prior: CostPrior) -> FittedCosts:
    """The most probable costs and scales.

    Costs per multiply-accumulate stay above the core's peak rate on every runtime.

    Args:
        timed: at least one network.
        prior: costs before the networks were seen.

    Returns:
        Costs, and the scale of each runtime in `timed`.
    """
    runtimes = sorted(set(timed.runtimes))
    slower = [runtime for runtime in runtimes if runtime != prior.fastest_runtime]
    num_costs = len(FEATURES)
    # (N, slower runtimes): which scale applies to which row.
    uses_scale = np.array([[runtime == other for other in slower] for runtime in timed.runtimes], dtype=np.float64)
    centre = np.concatenate([np.log(prior.costs), np.full(len(slower), SCALE_CENTRE)])
    sigma = np.concatenate([np.full(num_costs, COST_SIGMA), np.full(len(slower), SCALE_SIGMA)])
    log_latencies = np.log(timed.latencies_ms)

    def residuals(parameters: FloatArray) -> FloatArray:
        shares = timed.features * np.exp(parameters[:num_costs])
        log_predicted = np.log(shares.sum(axis=1)) + uses_scale @ parameters[num_costs:]
        return np.concatenate([(log_predicted - log_latencies) / LATENCY_SIGMA, (parameters - centre) / sigma])

    def jacobian(parameters: FloatArray) -> FloatArray:
        shares = timed.features * np.exp(parameters[:num_costs])
        by_cost = shares / shares.sum(axis=1, keepdims=True)
        return np.vstack([np.hstack([by_cost, uses_scale]) / LATENCY_SIGMA, np.diag(1 / sigma)])

    bound = -np.log(prior.peak_gmacs_per_s)  # 1 ms per million MACs is 1 GMAC/s.
    lowest = [bound if name.endswith("_mmacs") else -np.inf for name in FEATURES] + [0.0] * len(slower)
    start = np.maximum(centre, np.array(lowest) + 1e-3)
    solution = least_squares(residuals, start, jac=jacobian, bounds=(lowest, np.inf)).x
    scales = {runtime: 1.0 for runtime in runtimes if runtime == prior.fastest_runtime}
    scales.update(zip(slower, np.exp(solution[num_costs:]).tolist(), strict=True))
    return FittedCosts(costs=np.exp(solution[:num_costs]), scales=scales)


def leave_one_out(timed: TimedNetworks, prior: CostPrior) -> LeaveOneOut:
    """Predicts each network from fits that have not seen it, and from fits that have not seen its family.

    Args:
        timed: N latencies.
        prior: costs before the networks were seen.
    """
    return LeaveOneOut(
        timed=timed,
        by_network=_left_out_errors(timed, prior, timed.networks),
        by_family=_left_out_errors(timed, prior, timed.families),
    )


def _left_out_errors(timed: TimedNetworks, prior: CostPrior, groups: Sequence[str]) -> FloatArray:
    errors = np.full(len(groups), np.nan)
    names = np.array(groups)
    for group in sorted(set(groups)):
        fitted = fit(timed.select(names != group), prior)
        for i in np.flatnonzero(names == group):
            if timed.runtimes[i] in fitted.scales:
                predicted_ms = fitted.predict_ms(timed.features[i], timed.runtimes[i])
                errors[i] = predicted_ms / timed.latencies_ms[i] - 1
    return errors
