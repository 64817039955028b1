"""Work on subnets divided over the processes of a `torchrun`: the first decides and writes, the others measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.models.ranks import ALONE, Ranks

ResultT = TypeVar("ResultT")


class Team(Generic[ResultT]):
    """Measures subnets, one on each rank at a time.

    The first rank calls `measure` as often as it likes and `dismiss` at the end; every other calls `serve`, once.

    Args:
        jobs: by name, what measures one subnet; the same on all ranks.
        ranks: the processes.
    """

    def __init__(self, jobs: Mapping[str, Callable[[SubnetConfig], Any]], ranks: Ranks = ALONE) -> None:
        self._jobs = jobs
        self._ranks = ranks

    def measure(self, job: str, subnets: Sequence[SubnetConfig]) -> Iterator[Any]:
        """The measurements in the order of the subnets, each as soon as its round is over; of the first rank."""
        for start in range(0, len(subnets), self._ranks.count):
            yield from self._round(job, list(subnets[start : start + self._ranks.count]))

    def dismiss(self, result: ResultT) -> None:
        """Ends `serve` on the other ranks; of the first rank.

        Args:
            result: what they get.
        """
        if self._ranks.count > 1:
            self._ranks.gather_lists([(None, result)])

    def serve(self) -> ResultT:
        """Measures what the first rank asks for, until it dismisses; of the others.

        Returns:
            What the first rank gives at the end.
        """
        while True:
            message: list[tuple[str | None, Any]] = []
            ((job, given),) = self._ranks.gather_lists(message)
            if job is None:
                result: ResultT = given
                return result
            self._own(job, given)

    def _round(self, job: str, subnets: list[SubnetConfig]) -> list[Any]:
        if self._ranks.count > 1:
            self._ranks.gather_lists([(job, subnets)])
        return self._own(job, subnets)

    def _own(self, job: str, subnets: list[SubnetConfig]) -> list[Any]:
        """Measures this rank's subnet of a round, if there is one; gives those of all ranks."""
        mine = subnets[self._ranks.index : self._ranks.index + 1]
        return self._ranks.gather_lists([self._jobs[job](subnet) for subnet in mine])
