"""What every search strategy can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.initial import Latency


class Strategy(Protocol):
    """Proposes subnets and learns from their scores.

    A search is resumed by asking again and looking up what was measured, so what is asked for must follow from the
    factory's arguments, `identity` and the evaluations told.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values; what decides, beside space, latency and cap, which subnets are asked for."""
        ...

    @property
    def most_evaluations(self) -> int | None:
        """Subnets that it asks for at most; None if it does not know."""
        ...

    def ask(self, count: int) -> list[SubnetConfig]:
        """Subnets to score next.

        Args:
            count: at most so many; fewer at the end of a generation.

        Returns:
            Subnets that keep the latency cap and were not asked for before; none when the search is over.

        Raises:
            ValueError: a subnet that was asked for has not been told yet.
        """
        ...

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Takes the scores of subnets that were asked for.

        Raises:
            ValueError: a subnet was not asked for.
        """
        ...


class StrategyFactory(Protocol):
    """Makes the strategy of one search."""

    def __call__(self, space: SearchSpace, *, latency: Latency, latency_cap_ms: float) -> Strategy:
        """A strategy that has not asked yet.

        Args:
            space: where to look.
            latency: predicted time of a subnet, in ms.
            latency_cap_ms: no subnet above it may be asked for.

        Raises:
            ValueError: no subnet keeps the cap.
        """
        ...
