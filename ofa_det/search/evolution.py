"""Evolution over the subnets that keep latency caps (Once-for-All, section 3.4)."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.initial import initial_candidates
from ofa_det.search.problem import SearchProblem
from ofa_det.search.strategy import Answers

logger = logging.getLogger(__name__)

_TRIES_PER_CHILD = 100


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """How evolution proceeds; the defaults are those of Once-for-All, which scores with a predictor.

    Args:
        population: subnets scored at the start, and children scored in each generation.
        generations: generations of children.
        parent_ratio: parents of a generation, the best subnets so far, as a fraction of the population; at least two.
        mutation_ratio: children by mutation of one parent, as a fraction of the population; the others come by
            crossover of two.
        mutation_probability: chance of each choice of a mutated subnet to be redrawn.
        min_fill: least latency of the initial subnets, as a fraction of what is within reach under the cap.
    """

    population: int = 100
    generations: int = 500
    parent_ratio: float = 0.25
    mutation_ratio: float = 0.5
    mutation_probability: float = 0.1
    min_fill: float = 0.8

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ValueError(f"expected population >= 1, found {self.population}")
        if self.generations < 0:
            raise ValueError(f"expected generations >= 0, found {self.generations}")
        if not 0 < self.mutation_probability <= 1:
            raise ValueError(f"expected 0 < mutation_probability <= 1, found {self.mutation_probability}")
        if not 0 < self.parent_ratio <= 1:
            raise ValueError(f"expected 0 < parent_ratio <= 1, found {self.parent_ratio}")
        for name in ("mutation_ratio", "min_fill"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected 0 <= {name} <= 1, found {getattr(self, name)}")


class Evolution:
    """A strategy: the best subnets so far are parents of the next generation. Asks for no subnet twice.

    Each cap has its share of every generation, and its own parents, among all subnets told.

    What it asks for depends on its arguments and the evaluations alone, not on how many are asked for at once, so a
    search that was interrupted is continued by asking again and looking up what was measured.

    Args:
        problem: what is searched.
        config: how evolution proceeds.
        seed: of the random state.
    """

    def __init__(self, problem: SearchProblem, *, config: EvolutionConfig, seed: int) -> None:
        self._problem = problem
        self._config = config
        self._seed = seed
        self._rng = random.Random(seed)
        self._answers = Answers()
        generations = (self._children(number) for number in range(1, config.generations + 1))
        self._generations = itertools.chain((self._first(),), generations)
        self._generation = next(self._generations)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Seed and options, but for the one that only says how long to go on."""
        options = {f"evolution.{name}": value for name, value in asdict(self._config).items()}
        del options["evolution.generations"]
        return {"strategy": "evolution", "seed": self._seed, **options}

    @property
    def most_evaluations(self) -> int:
        """Subnets scored if the space does not run out of them."""
        return self._config.population * (1 + self._config.generations)

    def ask(self, count: int) -> list[SubnetConfig]:
        """Subnets to score next; see `Strategy.ask`."""
        self._answers.check_complete()
        asked = list(itertools.islice(self._generation, count))
        if not asked and count > 0 and (following := next(self._generations, None)) is not None:
            self._generation = following
            asked = list(itertools.islice(self._generation, count))
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Takes the scores of subnets that were asked for; see `Strategy.tell`."""
        self._answers.tell(evaluations)

    def _shares(self) -> Iterator[tuple[float, int]]:
        """The caps, the largest first, with what each has of the population."""
        caps, population = self._problem.caps_ms[::-1], self._config.population
        for index, cap_ms in enumerate(caps):
            yield cap_ms, (index + 1) * population // len(caps) - index * population // len(caps)

    def _first(self) -> Iterator[SubnetConfig]:
        problem = self._problem
        for cap_ms, count in self._shares():
            candidates = initial_candidates(
                problem.space, problem.effort(cap_ms), cap_ms, self._config.min_fill, self._rng
            )
            yield from self._fresh(candidates, count, cap_ms)

    def _children(self, number: int) -> Iterator[SubnetConfig]:
        config, space, rng = self._config, self._problem.space, self._rng
        before = self._answers.asked
        for cap_ms, count in self._shares():
            asked = self._answers.asked
            best = self._problem.best(self._answers.evaluations.values(), cap_ms)
            parents = [e.subnet for e in best[: max(2, round(config.parent_ratio * count))]]
            mutants = round(config.mutation_ratio * count)
            yield from self._fresh(_crossovers(space, parents, rng), count - mutants, cap_ms)
            # Parents that are too much alike have few new children; mutants make up for them.
            missing = count - (self._answers.asked - asked)
            yield from self._fresh(_mutations(space, parents, config.mutation_probability, rng), missing, cap_ms)
        if self._answers.asked == before:
            logger.info("no new subnet found in generation %d; search ends", number)

    def _fresh(self, candidates: Iterator[SubnetConfig], count: int, cap_ms: float) -> Iterator[SubnetConfig]:
        """`count` new subnets that keep the cap, fewer if `candidates` hold them too rarely."""
        for _ in range(count):
            tries = itertools.islice(candidates, _TRIES_PER_CHILD)
            new = (s for s in tries if s not in self._answers and self._problem.allows(s, cap_ms))
            subnet = next(new, None)
            if subnet is None:
                return
            self._answers.ask(subnet)
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
