"""How far a fit is from networks that it has not seen: one, or a family, left out at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
import numpy.typing as npt

from ofa_det.latency.features import FloatArray
from ofa_det.latency.fitting import FittedCosts, TimedNetworks

Fit = Callable[[TimedNetworks, frozenset[str]], FittedCosts]
"""Fits costs to networks; whatever else it uses must not be of the networks or families named second."""


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """Relative errors of N networks, each predicted by a fit that had not seen it.

    An error is predicted over published latency, less 1; not a number where nothing else was timed on the runtime.

    Args:
        timed: the networks.
        by_network: (N,), all figures of the network left out.
        by_family: (N,), all figures of its family (MobileNetV1, V2, V3, MnasNet, once-for-all) left out; a detector is
            of its backbone's family.
    """

    timed: TimedNetworks
    by_network: FloatArray
    by_family: FloatArray

    def select(self, rows: npt.NDArray[np.bool_]) -> LeaveOneOut:
        """The errors where `rows` (N,) holds."""
        return LeaveOneOut(
            timed=self.timed.select(rows), by_network=self.by_network[rows], by_family=self.by_family[rows]
        )

    def on(self, runtime: str) -> LeaveOneOut:
        """The errors on one runtime."""
        return self.select(np.array(self.timed.runtimes) == runtime)

    @cached_property
    def networks(self) -> int:
        """Number of different networks."""
        return len(set(self.timed.networks))

    @cached_property
    def families(self) -> int:
        """Number of different families."""
        return len(set(self.timed.families))

    @cached_property
    def network_mean(self) -> float:
        """Mean absolute error, one network left out."""
        return _mean(np.abs(self.by_network))

    @cached_property
    def network_worst(self) -> float:
        """Greatest absolute error, one network left out."""
        return _greatest(np.abs(self.by_network))

    @cached_property
    def family_mean(self) -> float:
        """Mean absolute error, one family left out."""
        return _mean(np.abs(self.by_family))

    @cached_property
    def family_worst(self) -> float:
        """Greatest absolute error, one family left out."""
        return _greatest(np.abs(self.by_family))

    @cached_property
    def family_rms(self) -> float:
        """Root mean square error, one family left out: the standard error of a prediction of another family."""
        return sqrt(_mean(self.by_family**2))

    def __str__(self) -> str:
        """The figures as a sentence without its full stop."""
        return (
            f"leave-one-out error over {self.networks} published networks: network {self.network_mean:.1%} mean, "
            f"{self.network_worst:.1%} worst; family {self.family_mean:.1%} mean, {self.family_worst:.1%} worst, "
            f"{self.family_rms:.1%} root mean square"
        )


def leave_one_out(timed: TimedNetworks, fit_costs: Fit) -> LeaveOneOut:
    """Predicts each network from fits that have not seen it, and from fits that have not seen its family.

    Args:
        timed: N latencies.
        fit_costs: fits costs to some of them.
    """
    return LeaveOneOut(
        timed=timed,
        by_network=left_out_errors(timed, fit_costs, timed.networks),
        by_family=left_out_errors(timed, fit_costs, timed.families),
    )


def left_out_errors(timed: TimedNetworks, fit_costs: Fit, groups: Sequence[str]) -> FloatArray:
    """Relative errors (N,) of networks, each predicted by a fit that has not seen its group.

    Args:
        timed: N latencies.
        fit_costs: fits costs to some of them.
        groups: N names.
    """
    errors = np.full(len(groups), np.nan)
    names = np.array(groups)
    for group in sorted(set(groups)):
        rows = np.flatnonzero(names == group)
        if len(rows) == len(timed):
            continue
        fitted = fit_costs(timed.select(names != group), frozenset({group}))
        for i in rows:
            if timed.runtimes[i] in fitted.scales:
                predicted_ms = fitted.predict_ms(timed.features[i], timed.runtimes[i])
                errors[i] = predicted_ms / timed.latencies_ms[i] - 1
    return errors


def _mean(values: FloatArray) -> float:
    """Of those that are numbers; nan without one."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else float("nan")


def _greatest(values: FloatArray) -> float:
    """Of those that are numbers; nan without one."""
    numbers = values[~np.isnan(values)]
    return float(numbers.max()) if len(numbers) else float("nan")
