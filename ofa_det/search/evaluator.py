"""What a search knows of a subnet: AP that is recorded or measured, predicted latency, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation, EvaluationLog, MeasuredAp
from ofa_det.search.initial import Latency


class Evaluator:
    """Evaluates subnets and records them, measuring none of which AP is known.

    Args:
        description: of the supernet.
        latency: predicted time of a subnet, in ms.
        at_most: the time that the cap is compared with, in ms: the predicted one and so many standard errors.
        latency_cap_ms: the cap, in ms.
        log: of this search, which is asked for AP first; takes the evaluations.
        measured: AP of the supernet's subnets, which is asked second; takes what is measured.
        measure: gives the AP of subnets, in their order.
    """

    def __init__(
        self,
        description: ModelDescription,
        *,
        latency: Latency,
        at_most: Latency,
        latency_cap_ms: float,
        log: EvaluationLog,
        measured: MeasuredAp,
        measure: Callable[[Sequence[SubnetConfig]], Iterator[float]],
    ) -> None:
        self._description = description
        self._latency = latency
        self._at_most = at_most
        self._cap_ms = latency_cap_ms
        self._log = log
        self._measured = measured
        self._measure = measure

    def __call__(self, subnets: Sequence[SubnetConfig]) -> Iterator[Evaluation]:
        """The evaluations in the order of the subnets, each as soon as it is known.

        Raises:
            ValueError: a subnet that is not of the space or breaks the cap.
        """
        space = self._description.detector.space
        if wrong := [s for s in subnets if s not in space or self._at_most(s) > self._cap_ms]:
            raise ValueError(
                f"expected subnets of the space within {self._cap_ms:g} ms from the strategy, found {wrong[0]}"
            )
        unknown = [subnet for subnet in dict.fromkeys(subnets) if self._known(subnet) is None]
        measuring = self._measure(unknown)
        for subnet in subnets:
            ap = self._known(subnet)
            if ap is None:
                ap = next(measuring)
                self._measured.add(subnet, ap)
            plan = self._description.shipped_plan(subnet)
            evaluation = Evaluation(
                subnet=subnet,
                ap=ap,
                latency_ms=self._latency(subnet),
                macs=plan.macs,
                parameters=plan.parameters,
            )
            self._log.add(evaluation)
            yield evaluation

    def _known(self, subnet: SubnetConfig) -> float | None:
        recorded = self._log.get(subnet)
        return self._measured.get(subnet) if recorded is None else recorded.ap
