"""What every search strategy can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation


class Strategy(Protocol):
    """Proposes subnets and learns from their scores."""

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
        """Takes the scores of subnets that were asked for."""
        ...
