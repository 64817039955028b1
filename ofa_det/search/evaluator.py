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
    """

    def __init__(
        self,
        problem: SearchProblem,
        *,
        log: EvaluationLog,
        measured: MeasuredAp,
        measure: Callable[[Sequence[SubnetConfig]], Iterator[float]],
    ) -> None:
        self._problem = problem
        self._log = log
        self._measured = measured
        self._measure = measure

    def __call__(self, subnets: Sequence[SubnetConfig]) -> Iterator[Evaluation]:
        """The evaluations in the order of the subnets, each as soon as it is known."""
        unknown = [subnet for subnet in dict.fromkeys(subnets) if self._known(subnet) is None]
        measuring = self._measure(unknown)
        for subnet in subnets:
            ap = self._known(subnet)
            if ap is None:
                ap = next(measuring)
                self._measured.add(subnet, ap)
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

    def _known(self, subnet: SubnetConfig) -> float | None:
        recorded = self._log.get(subnet)
        return self._measured.get(subnet) if recorded is None else recorded.ap
