"""Costs of layer features, fitted to latencies of whole networks.

latency = scale of the runtime x sum over features (cost x feature). Logarithms of costs and scales are fitted by least
squares on the logarithm of latency, that is on relative error, with a normal prior on each. Costs are therefore
positive: non-negative least squares on the Pixel 2 figures sets two to four of nine to zero, depthwise 3x3 among them,
and a search would exploit every one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from ofa_det.latency.features import FEATURES, FloatArray

LATENCY_SIGMA: Final = 0.05
"""Relative error of one latency: republished figures differ by 1-7 %, and the features are not the whole truth."""
SCALE_CENTRE: Final = 0.3
SCALE_SIGMA: Final = 1.0
"""Prior on the log of a runtime's scale over the fastest runtime; wide enough not to matter."""

_KERNEL_3, _KERNEL_5, _KERNEL_7 = (FEATURES.index(f"depthwise{size}_mmacs") for size in (3, 5, 7))


@dataclass(frozen=True, kw_only=True)
class CostPrior:
    """What is known of a core before any network is timed on it.

    A multiply-accumulate of a depthwise 5x5 is taken never to cost less than one of a 3x3, nor of a 7x7 less than one
    of a 5x5: where enough networks tell them apart it costs more, since runtimes are written for the 3x3.

    Args:
        costs: expected milliseconds per unit of each of `FEATURES`, on the fastest runtime.
        peak_gmacs_per_s: multiply-accumulates that the core can issue; no cost falls below this bound.
        fastest_runtime: the runtime whose scale is 1; the others' are at least 1.
        sigma: relative width of the prior on each cost; 0.5 is a factor of 1.6 either way.
        kernel_ratios: expected cost of a depthwise 5x5 over a 3x3, and of a 7x7 over a 5x5, per multiply-accumulate.
        kernel_sigma: relative width of the prior on those ratios.
        ordered_kernels: whether the ratios are at least 1.
    """

    costs: tuple[float, ...]
    peak_gmacs_per_s: float
    fastest_runtime: str
    sigma: float = 0.5
    kernel_ratios: tuple[float, float] = (1.0, 1.0)
    kernel_sigma: float = 0.7
    ordered_kernels: bool = True

    def __post_init__(self) -> None:
        if len(self.costs) != len(FEATURES) or min(self.costs) <= 0:
            raise ValueError(f"expected {len(FEATURES)} positive costs, found {list(self.costs)}")
        if min(self.peak_gmacs_per_s, self.sigma, self.kernel_sigma) <= 0:
            raise ValueError(
                "expected peak_gmacs_per_s, sigma and kernel_sigma > 0, found "
                f"{self.peak_gmacs_per_s}, {self.sigma} and {self.kernel_sigma}"
            )
        if min(self.kernel_ratios) < (1 if self.ordered_kernels else 1e-6):
            raise ValueError(f"expected kernel_ratios >= 1, found {self.kernel_ratios}")


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

    def __len__(self) -> int:
        return len(self.latencies_ms)

    @property
    def are_detectors(self) -> npt.NDArray[np.bool_]:
        """(N,) whether a row is of a detector, which alone has post-processing."""
        return np.asarray(self.features[:, FEATURES.index("postprocessing")] > 0)

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

    def joined(self, other: TimedNetworks) -> TimedNetworks:
        """The rows of both."""
        return TimedNetworks(
            features=np.concatenate([self.features, other.features]),
            latencies_ms=np.concatenate([self.latencies_ms, other.latencies_ms]),
            runtimes=self.runtimes + other.runtimes,
            networks=self.networks + other.networks,
            families=self.families + other.families,
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

    @property
    def kernel_ratios(self) -> tuple[float, float]:
        """Cost of a depthwise 5x5 over a 3x3, and of a 7x7 over a 5x5, per multiply-accumulate."""
        small, middle, large = self.costs[[_KERNEL_3, _KERNEL_5, _KERNEL_7]].tolist()
        return middle / small, large / middle

    def predict_ms(self, features: FloatArray, runtime: str) -> float:
        """Milliseconds of a layer or network of the given features: (len(FEATURES),)."""
        return float(features @ self.costs) * self.scales[runtime]


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
    uses_scale = uses_scale.reshape(len(timed), len(slower))
    # The parameter of a larger kernel is its log cost over that of the next smaller one.
    centre = np.concatenate([np.log(prior.costs), np.full(len(slower), SCALE_CENTRE)])
    centre[[_KERNEL_5, _KERNEL_7]] = np.log(prior.kernel_ratios)
    sigma = np.concatenate([np.full(num_costs, prior.sigma), np.full(len(slower), SCALE_SIGMA)])
    sigma[[_KERNEL_5, _KERNEL_7]] = prior.kernel_sigma
    log_latencies = np.log(timed.latencies_ms)

    def costs_of(parameters: FloatArray) -> FloatArray:
        log_costs = parameters[:num_costs].copy()
        log_costs[_KERNEL_5] += log_costs[_KERNEL_3]
        log_costs[_KERNEL_7] += log_costs[_KERNEL_5]
        return np.exp(log_costs)

    def residuals(parameters: FloatArray) -> FloatArray:
        shares = timed.features * costs_of(parameters)
        log_predicted = np.log(shares.sum(axis=1)) + uses_scale @ parameters[num_costs:]
        return np.concatenate([(log_predicted - log_latencies) / LATENCY_SIGMA, (parameters - centre) / sigma])

    def jacobian(parameters: FloatArray) -> FloatArray:
        shares = timed.features * costs_of(parameters)
        by_cost = shares / shares.sum(axis=1, keepdims=True)
        by_cost[:, _KERNEL_5] += by_cost[:, _KERNEL_7]
        by_cost[:, _KERNEL_3] += by_cost[:, _KERNEL_5]
        return np.vstack([np.hstack([by_cost, uses_scale]) / LATENCY_SIGMA, np.diag(1 / sigma)])

    bound = -np.log(prior.peak_gmacs_per_s)  # 1 ms per million MACs is 1 GMAC/s.
    lowest = [bound if name.endswith("_mmacs") else -np.inf for name in FEATURES] + [0.0] * len(slower)
    lowest[_KERNEL_5] = lowest[_KERNEL_7] = 0.0 if prior.ordered_kernels else -np.inf
    start = np.maximum(centre, np.array(lowest) + 1e-3)
    solution = least_squares(residuals, start, jac=jacobian, bounds=(lowest, np.inf)).x
    scales = {runtime: 1.0 for runtime in runtimes if runtime == prior.fastest_runtime}
    scales.update(zip(slower, np.exp(solution[num_costs:]).tolist(), strict=True))
    return FittedCosts(costs=costs_of(solution), scales=scales)
