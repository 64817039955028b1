"""Evolution over the subnets that keep a latency cap (Once-for-All, section 3.4)."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from ofa_det.arch.search_space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
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


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A scored subnet.

    Args:
        subnet: the network.
        ap: its score, higher is better.
        latency_ms: its predicted latency.
    """

    subnet: SubnetConfig
    ap: float
    latency_ms: float

    @property
    def rank(self) -> tuple[float, float, SubnetConfig]:
        """Sorts the best first; a total order, so that ties do not depend on the order of discovery."""
        return -self.ap, self.latency_ms, self.subnet


def evolve(
    space: SearchSpace,
    *,
    score: Callable[[SubnetConfig], float],
    latency: Latency,
    latency_cap_ms: float,
    config: EvolutionConfig,
    seed: int,
) -> Iterator[Candidate]:
    """Searches for the subnet of the highest score under a latency cap; scores none twice.

    The sequence depends on the arguments and the scores alone, so a search that was interrupted is continued by running
    it again with a `score` that looks up what was measured.

    Args:
        space: where to look.
        score: measured quality of a subnet.
        latency: predicted time of a subnet, in ms.
        latency_cap_ms: no subnet above it is scored.
        config: how evolution proceeds.
        seed: of the random state.

    Returns:
        The scored subnets in order, each as soon as it is scored.

    Raises:
        ValueError: no subnet keeps the cap; raised by the call itself, before any subnet is scored.
    """
    latency = cache(latency)
    feasible_resolutions(space, latency, latency_cap_ms)
    return itertools.islice(
        _generations(space, score, latency, latency_cap_ms, config, random.Random(seed)),
        config.max_evaluations,
    )


def _generations(
    space: SearchSpace,
    score: Callable[[SubnetConfig], float],
    latency: Latency,
    latency_cap_ms: float,
    config: EvolutionConfig,
    rng: random.Random,
) -> Iterator[Candidate]:
    scored: dict[SubnetConfig, Candidate] = {}

    def fresh(candidates: Iterator[SubnetConfig], count: int) -> Iterator[Candidate]:
        """Scores `count` new subnets that keep the cap, fewer if `candidates` hold them too rarely."""
        for _ in range(count):
            tries = itertools.islice(candidates, _TRIES_PER_CHILD)
            subnet = next((s for s in tries if s not in scored and latency(s) <= latency_cap_ms), None)
            if subnet is None:
                return
            scored[subnet] = Candidate(subnet=subnet, ap=score(subnet), latency_ms=latency(subnet))
            yield scored[subnet]

    yield from fresh(initial_candidates(space, latency, latency_cap_ms, config.min_fill, rng), config.population)
    mutants = round(config.mutation_ratio * config.population)
    num_parents = max(2, round(config.parent_ratio * config.population))
    for generation in range(config.generations):
        before = len(scored)
        best = sorted(scored.values(), key=lambda candidate: candidate.rank)
        parents = [c.subnet for c in best[:num_parents]]
        yield from fresh(_crossovers(space, parents, rng), config.population - mutants)
        # Parents that are too much alike have few new children; mutants make up for them.
        missing = config.population - (len(scored) - before)
        yield from fresh(_mutations(space, parents, config.mutation_probability, rng), missing)
        if len(scored) == before:
            logger.info("no new subnet under %g ms found in generation %d; search ends", latency_cap_ms, generation + 1)
            return


def _mutations(
    space: SearchSpace, parents: list[SubnetConfig], probability: float, rng: random.Random
) -> Iterator[SubnetConfig]:
    while True:
        yield space.mutate(rng.choice(parents), rng, probability)


def _crossovers(space: SearchSpace, parents: list[SubnetConfig], rng: random.Random) -> Iterator[SubnetConfig]:
    while len(parents) > 1:
        first, second = rng.sample(parents, 2)
        yield space.crossover(first, second, rng)
