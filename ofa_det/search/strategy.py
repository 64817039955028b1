"""What every search strategy can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.problem import SearchProblem


class Strategy(Protocol):
    """Proposes subnets and learns from their scores.

    A search is resumed by asking again and looking up what was measured, so what is asked for must follow from the
    problem, `identity` and the evaluations told.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values; what decides, beside the problem, which subnets are asked for."""
        ...

    @property
    def most_evaluations(self) -> int | None:
        """Subnets that it asks for at most; None if it does not know, or would go on for ever."""
        ...

    def ask(self, count: int) -> list[SubnetConfig]:
        """Subnets to score next.

        Args:
            count: at most so many; fewer at the end of a generation.

        Returns:
            Subnets that keep the limits and one of the caps and were neither asked for nor told before; none when the
            search is over.

        Raises:
            ValueError: a subnet that was asked for has not been told yet.
        """
        ...

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Takes the scores of subnets that were asked for.

        Before the first `ask`, it takes those of the search's baselines, some of which may exceed every cap.

        Raises:
            ValueError: a subnet was not asked for.
        """
        ...


@runtime_checkable
class Predicting(Protocol):
    """A strategy that predicts AP before it asks."""

    @property
    def predicted(self) -> Mapping[SubnetConfig, float]:
        """AP of subnets that were asked for, as it was expected then."""
        ...


class StrategyFactory(Protocol):
    """Makes the strategy of one search."""

    def __call__(self, problem: SearchProblem) -> Strategy:
        """A strategy that has not asked yet."""
        ...


class Answers:
    """What a strategy asked for and was told."""

    def __init__(self) -> None:
        self.evaluations: dict[SubnetConfig, Evaluation] = {}
        self._asked: set[SubnetConfig] = set()

    def __contains__(self, subnet: SubnetConfig) -> bool:
        return subnet in self._asked or subnet in self.evaluations

    @property
    def asked(self) -> int:
        """How many subnets were asked for."""
        return len(self._asked)

    def ask(self, subnet: SubnetConfig) -> None:
        """Notes that a subnet is asked for."""
        self._asked.add(subnet)

    def check_complete(self) -> None:
        """Refuses to ask for more before everything was told.

        Raises:
            ValueError: a subnet that was asked for has not been told yet.
        """
        if waiting := len(self._asked - self.evaluations.keys()):
            raise ValueError(f"expected an evaluation of every subnet asked for, found none of {waiting}")

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Takes evaluations of what was asked for; before the first question, any.

        Raises:
            ValueError: a subnet was not asked for; nothing is taken then.
        """
        if self._asked and (unasked := [str(e.subnet) for e in evaluations if e.subnet not in self._asked]):
            raise ValueError(f"expected evaluations of subnets that were asked for, found one of {unasked[0]}")
        self.evaluations.update((evaluation.subnet, evaluation) for evaluation in evaluations)
