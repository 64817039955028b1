"""What a search knows of a subnet: AP that is recorded or measured, predicted latency, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation, EvaluationLog, MeasuredAp
from ofa_det.search.problem import SearchProblem


class Evaluator:
    """Evaluates subnets and records them, measuring none of which AP is known.

    Args:
        problem: gives the costs.
        log: of this search, which is asked for AP first; takes the evaluations.
        measured: AP of the supernet's subnets, which is asked second; takes what is measured.
        measure: gives the AP of subnets, in their order.
        corrected: from the measured AP of a subnet, the one that the search goes by.
    """

    def __init__(
        self,
        problem: SearchProblem,
        *,
        log: EvaluationLog,
        measured: MeasuredAp,
        measure: Callable[[Sequence[SubnetConfig]], Iterator[float]],
        corrected: Callable[[SubnetConfig, float], float] = lambda _, ap: ap,
    ) -> None:
        self._problem = problem
        self._log = log
        self._measured = measured
        self._measure = measure
        self._corrected = corrected

    def __call__(self, subnets: Sequence[SubnetConfig]) -> Iterator[Evaluation]:
        """The evaluations in the order of the subnets, each as soon as it is known."""
        aps = measured_aps([s for s in dict.fromkeys(subnets) if not self._log.get(s)], self._measured, self._measure)
        for subnet in subnets:
            recorded = self._log.get(subnet)
            ap = self._corrected(subnet, next(aps)) if recorded is None else recorded.ap
            costs = self._problem.costs(subnet)
            evaluation = Evaluation(
                subnet=subnet,
                ap=ap,
                latency_ms=costs.latency_ms,
                at_most_ms=costs.at_most_ms,
                macs=int(costs.macs),
                parameters=int(costs.parameters),
                file_bytes=int(costs.file_bytes),
            )
            self._log.add(evaluation)
            yield evaluation


def measured_aps(
    subnets: Sequence[SubnetConfig],
    measured: MeasuredAp,
    measure: Callable[[Sequence[SubnetConfig]], Iterator[float]],
) -> Iterator[float]:
    """AP of distinct subnets in their order, each as soon as it is known; measures and keeps what is not.

    Args:
        subnets: whose AP is wanted.
        measured: is asked first; takes what is measured.
        measure: gives the AP of subnets, in their order.
    """
    measuring = measure([subnet for subnet in subnets if measured.get(subnet) is None])
    for subnet in subnets:
        ap = measured.get(subnet)
        if ap is None:
            ap = next(measuring)
            measured.add(subnet, ap)
        yield ap
