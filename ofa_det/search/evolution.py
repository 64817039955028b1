"""Evolution over the subnets that keep a latency cap (Once-for-All, section 3.4)."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.initial import Latency, feasible_resolutions, initial_candidates

logger = logging.getLogger(__name__)

_TRIES_PER_CHILD = 100


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """How evolution proceeds; the defaults are those of Once-for-All, but for the budget.

    Args:
        population: subnets scored at the start, and children scored in each generation.
        generations: generations of children.
        parent_ratio: parents of a generation, the best subnets so far, as a fraction of the population; at least two.
        mutation_ratio: children by mutation of one parent, as a fraction of the population; the others come by
            crossover of two.
        mutation_probability: chance of each choice of a mutated subnet to be redrawn.
        min_fill: least latency of the initial subnets, as a fraction of what is within reach under the cap.
        max_evaluations: subnets scored at most; Once-for-All scores with a predictor and needs no budget.
    """

    population: int = 100
    generations: int = 500
    parent_ratio: float = 0.25
    mutation_ratio: float = 0.5
    mutation_probability: float = 0.1
    min_fill: float = 0.8
    max_evaluations: int = 500

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ValueError(f"expected population >= 1, found {self.population}")
        if self.generations < 0:
            raise ValueError(f"expected generations >= 0, found {self.generations}")
        if self.max_evaluations < 1:
            raise ValueError(f"expected max_evaluations >= 1, found {self.max_evaluations}")
        if not 0 < self.mutation_probability <= 1:
            raise ValueError(f"expected 0 < mutation_probability <= 1, found {self.mutation_probability}")
        if not 0 < self.parent_ratio <= 1:
            raise ValueError(f"expected 0 < parent_ratio <= 1, found {self.parent_ratio}")
        for name in ("mutation_ratio", "min_fill"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected 0 <= {name} <= 1, found {getattr(self, name)}")

    @property
    def most_evaluations(self) -> int:
        """Subnets scored if the space does not run out of them."""
        return min(self.max_evaluations, self.population * (1 + self.generations))


class Evolution:
    """A strategy: the best subnets so far are parents of the next generation. Asks for no subnet twice.

    What it asks for depends on its arguments and the evaluations alone, not on how many are asked for at once, so a
    search that was interrupted is continued by asking again and looking up what was measured.

    Args:
        space: where to look.
        latency: predicted time of a subnet, in ms.
        latency_cap_ms: no subnet above it is asked for.
        config: how evolution proceeds.
        seed: of the random state.

    Raises:
        ValueError: no subnet keeps the cap.
    """

    def __init__(
        self, space: SearchSpace, *, latency: Latency, latency_cap_ms: float, config: EvolutionConfig, seed: int
    ) -> None:
        self._space = space
        self._latency = cache(latency)
        self._cap_ms = latency_cap_ms
        self._config = config
        self._seed = seed
        self._rng = random.Random(seed)
        self._evaluations: dict[SubnetConfig, Evaluation] = {}
        self._known: set[SubnetConfig] = set()
        feasible_resolutions(space, self._latency, latency_cap_ms)
        self._generations = iter((self._first(), *(self._children(n) for n in range(1, config.generations + 1))))
        self._generation = next(self._generations)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Seed and options, but for those that only say how long to go on."""
        options = {f"evolution.{name}": value for name, value in asdict(self._config).items()}
        del options["evolution.generations"], options["evolution.max_evaluations"]
        return {"seed": self._seed, **options}

    @property
    def most_evaluations(self) -> int:
        """Subnets scored if the space does not run out of them."""
        return self._config.most_evaluations

    def ask(self, count: int) -> list[SubnetConfig]:
        """Subnets to score next; see `Strategy.ask`."""
        if waiting := len(self._known - self._evaluations.keys()):
            raise ValueError(f"expected an evaluation of every subnet asked for, found none of {waiting}")
        count = min(count, self._config.max_evaluations - len(self._known))
        asked = list(itertools.islice(self._generation, count))
        if not asked and count > 0 and (following := next(self._generations, None)) is not None:
            self._generation = following
            asked = list(itertools.islice(self._generation, count))
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Takes the scores of subnets that were asked for; see `Strategy.tell`."""
        if unasked := [str(e.subnet) for e in evaluations if e.subnet not in self._known]:
            raise ValueError(f"expected evaluations of subnets that were asked for, found one of {unasked[0]}")
        self._evaluations.update((evaluation.subnet, evaluation) for evaluation in evaluations)

    def _first(self) -> Iterator[SubnetConfig]:
        config = self._config
        candidates = initial_candidates(self._space, self._latency, self._cap_ms, config.min_fill, self._rng)
        yield from self._fresh(candidates, config.population)

    def _children(self, number: int) -> Iterator[SubnetConfig]:
        config, space, rng = self._config, self._space, self._rng
        before = len(self._known)
        best = sorted(self._evaluations.values(), key=lambda evaluation: evaluation.rank)
        parents = [e.subnet for e in best[: max(2, round(config.parent_ratio * config.population))]]
        mutants = round(config.mutation_ratio * config.population)
        yield from self._fresh(_crossovers(space, parents, rng), config.population - mutants)
        # Parents that are too much alike have few new children; mutants make up for them.
        missing = config.population - (len(self._known) - before)
        yield from self._fresh(_mutations(space, parents, config.mutation_probability, rng), missing)
        if len(self._known) == before:
            logger.info("no new subnet under %g ms found in generation %d; search ends", self._cap_ms, number)

    def _fresh(self, candidates: Iterator[SubnetConfig], count: int) -> Iterator[SubnetConfig]:
        """`count` new subnets that keep the cap, fewer if `candidates` hold them too rarely."""
        for _ in range(count):
            tries = itertools.islice(candidates, _TRIES_PER_CHILD)
            subnet = next((s for s in tries if s not in self._known and self._latency(s) <= self._cap_ms), None)
            if subnet is None:
                return
            self._known.add(subnet)
            yield subnet


def _mutations(
    space: SearchSpace, parents: list[SubnetConfig], probability: float, rng: random.Random
) -> Iterator[SubnetConfig]:
    while True:
        yield space.mutate(rng.choice(parents), rng, probability)


def _crossovers(space: SearchSpace, parents: list[SubnetConfig], rng: random.Random) -> Iterator[SubnetConfig]:
    while len(parents) > 1:
        first, second = rng.sample(parents, 2)
        yield space.crossover(first, second, rng)
