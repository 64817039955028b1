"""The strategy that learns nothing: what every other is to be compared with."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.initial import near_cap
from ofa_det.search.problem import SearchProblem
from ofa_det.search.strategy import Answers

_TRIES = 100


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """Where random subnets are drawn.

    Args:
        min_fill: least latency, as a fraction of what is within reach under the cap.
    """

    min_fill: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.min_fill <= 1:
            raise ValueError(f"expected 0 <= min_fill <= 1, found {self.min_fill}")


class RandomSearch:
    """Asks for random subnets near the caps in turn, of the resolutions in turn.

    Args:
        problem: what is searched.
        config: where they are drawn.
        seed: of the random state.
    """

    most_evaluations = None

    def __init__(self, problem: SearchProblem, *, config: RandomConfig, seed: int) -> None:
        self._problem = problem
        self._identity = {"strategy": "random", "seed": seed, "random.min_fill": config.min_fill}
        self._answers = Answers()
        rng = random.Random(seed)
        self._candidates = [
            (cap_ms, near_cap(problem.space, problem.effort(cap_ms), cap_ms, config.min_fill, rng))
            for cap_ms in problem.caps_ms[::-1]
        ]
        self._next = self._new()

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Strategy.identity`."""
        return self._identity

    def ask(self, count: int) -> list[SubnetConfig]:
        """Subnets to score next; see `Strategy.ask`."""
        self._answers.check_complete()
        return list(itertools.islice(self._next, count))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Takes scores; see `Strategy.tell`."""
        self._answers.tell(evaluations)

    def _new(self) -> Iterator[SubnetConfig]:
        found = True
        while found:
            found = False
            for cap_ms, candidates in self._candidates:
                tries = (next(candidates) for _ in range(_TRIES))
                new = (s for s in tries if s not in self._answers and self._problem.allows(s, cap_ms))
                if (subnet := next(new, None)) is not None:
                    found = True
                    self._answers.ask(subnet)
                    yield subnet
