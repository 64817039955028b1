"""What a strategy is to solve: a space, what subnets cost, caps, limits and an objective, in one value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.costs import AT_MOST, LATENCY, LIMITED, Costs, CostsOf, CostTable
from ofa_det.search.file_size import FILE_MARGIN
from ofa_det.search.genes import FloatArray, GeneCoding
from ofa_det.search.initial import feasible_resolutions
from ofa_det.search.objective import Limits, Objective

_ROUNDING = 1 - 1e-9
"""Sums of the table differ from those of a plan in the last digits, and must not forbid what just keeps a cap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchProblem:
    """Find, under each of several caps, the subnet of the best objective.

    Args:
        space: where to look.
        costs_of: exact costs of a subnet; asked for each subnet once.
        caps_ms: latency caps, ascending, in ms.
        limits: beside latency.
        objective: what is made large.
    """

    space: SearchSpace
    costs_of: CostsOf
    caps_ms: tuple[float, ...]
    limits: Limits = field(default_factory=Limits)
    objective: Objective = field(default_factory=Objective)

    def __post_init__(self) -> None:
        if not self.caps_ms or list(self.caps_ms) != sorted(set(self.caps_ms)):
            raise ValueError(f"expected distinct latency caps, ascending, found {list(self.caps_ms)}")
        if self.caps_ms[0] <= 0:
            raise ValueError(f"expected a latency cap above 0 ms, found {self.caps_ms[0]:g}")
        self._check_feasible()

    @cached_property
    def coding(self) -> GeneCoding:
        """Of the subnets as rows of integers."""
        return GeneCoding(self.space)

    @cached_property
    def table(self) -> CostTable:
        """Costs of whole populations."""
        return CostTable(self.coding, self.costs)

    @cached_property
    def _known(self) -> dict[SubnetConfig, Costs]:
        return {}

    @cached_property
    def _quick(self) -> dict[SubnetConfig, FloatArray]:
        return {}

    def costs(self, subnet: SubnetConfig) -> Costs:
        """Exact costs of a subnet."""
        found = self._known.get(subnet)
        if found is None:
            found = self._known[subnet] = self.costs_of(subnet)
        return found

    def allows(self, subnet: SubnetConfig, cap_ms: float | None = None) -> bool:
        """Whether a subnet is of the space and keeps the limits and a cap, by default the largest."""
        return subnet in self.space and self.keeps(self.costs(subnet), cap_ms)

    def keeps(self, costs: Costs, cap_ms: float | None = None) -> bool:
        """Whether costs keep the limits and a cap, by default the largest."""
        return bool(self.kept(np.array([costs]), cap_ms)[0])

    def kept(self, costs: FloatArray, cap_ms: float | None = None) -> NDArray[np.bool_]:
        """(N,) which rows of costs (N, 5) keep the limits and a cap, by default the largest."""
        kept = (costs[:, LIMITED] <= self.limits.absolute).all(axis=1)
        if self.objective.has_hard_cap:
            kept &= costs[:, AT_MOST] <= (self.caps_ms[-1] if cap_ms is None else cap_ms)
        return np.asarray(kept)

    def effort(self, cap_ms: float) -> Callable[[SubnetConfig], float]:
        """What is below the cap if a subnet keeps the cap and the limits, but for those within 0.1 % of one.

        It is the latency that the cap is compared with, in ms, or the largest used part of a limit, as a part of the
        cap; of the table, which is thirty times as fast as a plan: what is found by it is still to be checked.
        """
        limits = np.array(self.limits.absolute)

        def of(subnet: SubnetConfig) -> float:
            costs = self._quick.get(subnet)
            if costs is None:
                (costs,) = self.table(self.coding.encode([subnet]))
                self._quick[subnet] = costs
            return _ROUNDING * max(float(costs[AT_MOST]), cap_ms * float((costs[LIMITED] / limits).max()))

        return of

    def value(self, evaluation: Evaluation, cap_ms: float) -> float:
        """Objective of a scored subnet under a cap; minus infinity if it does not keep it."""
        return float(self.values(np.array([evaluation.ap]), np.array([costs_of(evaluation)]), cap_ms)[0])

    def best(self, evaluations: Iterable[Evaluation], cap_ms: float) -> list[Evaluation]:
        """Those that keep a cap, the best first; a total order, so ties do not depend on the order of discovery."""
        valued = [(self.value(evaluation, cap_ms), evaluation) for evaluation in evaluations]
        kept = [(value, evaluation) for value, evaluation in valued if value > -np.inf]
        return [e for _, e in sorted(kept, key=lambda pair: (-pair[0], pair[1].latency_ms, pair[1].subnet))]

    def values(self, ap: FloatArray, costs: FloatArray, cap_ms: float) -> FloatArray:
        """(N,) objectives under a cap, minus infinity of what does not keep it.

        Args:
            ap: (N,) as fractions.
            costs: (N, 5).
            cap_ms: the cap.
        """
        worth = self.objective.values(ap, latency_ms=costs[:, LATENCY], at_most_ms=costs[:, AT_MOST], cap_ms=cap_ms)
        return np.where(self.kept(costs, cap_ms), worth, -np.inf)

    def _check_feasible(self) -> None:
        """Refuses caps and limits that no subnet keeps."""
        smallest = {px: self.costs(self.space.smallest(px)) for px in self.space.resolutions}
        feasible_resolutions(self.space, lambda subnet: self.costs(subnet).at_most_ms, self.caps_ms[0])
        limits = zip(("mmacs", "mparameters", "file_mb"), self.limits.absolute, strict=True)
        for column, (name, limit) in enumerate(limits, start=2):
            least = min(costs[column] for costs in smallest.values())
            if least > limit:
                million = 1e6 / (FILE_MARGIN if name == "file_mb" else 1.0)
                raise ValueError(
                    f"expected limits.{name} of at least {least / million:.3f}, the smallest subnet's, found "
                    f"{limit / million:g}; raise it or search a space with smaller subnets"
                )
        if not any(self.keeps(costs, self.caps_ms[0]) for costs in smallest.values()):
            raise ValueError("expected limits and a latency cap that the same resolution keeps, found none; raise one")


def costs_of(evaluation: Evaluation) -> Costs:
    """The costs in an evaluation."""
    return Costs(
        latency_ms=evaluation.latency_ms,
        at_most_ms=evaluation.at_most_ms,
        macs=evaluation.macs,
        parameters=evaluation.parameters,
        file_bytes=evaluation.file_bytes,
    )
