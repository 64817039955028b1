"""NSGA-II (Deb et al. 2002) over genes: a front of predicted AP against latency, tens of thousands of subnets a second.

pymoo's, with sampling, crossover and mutation of our own, visits 4,700 candidates a second on one core before anything
is predicted; this one keeps every step in arrays.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa_det.search.costs import AT_MOST
from ofa_det.search.genes import FloatArray, GeneCoding, Genes
from ofa_det.search.problem import SearchProblem

Score = Callable[[Genes, FloatArray], FloatArray]
"""(N,) scores of genes (N, G) with costs (N, 5)."""


@dataclass(frozen=True, kw_only=True)
class NsgaConfig:
    """How the predictor's front is searched.

    Args:
        population: candidates of a generation.
        generations: how many follow the first.
        mutation_probability: chance of each choice of a child to be redrawn.
    """

    population: int = 200
    generations: int = 40
    mutation_probability: float = 0.05

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ValueError(f"expected population >= 2, found {self.population}")
        if self.generations < 1:
            raise ValueError(f"expected generations >= 1, found {self.generations}")
        if not 0 < self.mutation_probability <= 1:
            raise ValueError(f"expected 0 < mutation_probability <= 1, found {self.mutation_probability}")


@dataclass(frozen=True, kw_only=True)
class Visited:
    """Every subnet that was looked at, each once.

    Args:
        genes: (N, G).
        costs: (N, 5), of the table.
        scores: (N,).
    """

    genes: Genes
    costs: FloatArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.genes)


def explore(
    problem: SearchProblem, score: Score, start: Genes, *, config: NsgaConfig, rng: np.random.Generator
) -> Visited:
    """Searches the front of highest score and lowest latency within the largest cap and the limits.

    Args:
        problem: what is searched.
        score: of candidates, made large.
        start: (N, G) canonical genes to begin with, filled up with random ones.
        config: how far.
        rng: the random state.
    """
    coding, size = problem.coding, config.population
    seen = _Seen(coding, rng)
    filling = coding.sample(rng, max(0, size - len(start)))
    pool = _evaluated(problem, score, seen.new(np.concatenate([start, filling])))
    parents, pools = _select(problem, pool, size), [pool]
    for _ in range(config.generations):
        children = _children(coding, parents, size, config.mutation_probability, rng)
        pool = _evaluated(problem, score, seen.new(children))
        pools.append(pool)
        parents = _select(problem, _joined([parents, pool]), size)
    return _joined(pools)


def crowding(objectives: FloatArray) -> FloatArray:
    """(N,) crowding distances of one front (N, 2): infinite at its ends."""
    distances = np.zeros(len(objectives))
    for column in objectives.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]] or 1.0
        distances[order[[0, -1]]] = np.inf
        distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return distances


def front_numbers(objectives: FloatArray) -> NDArray[np.int64]:
    """(N,) from 0, the front that each of (N, 2) objectives belongs to, both made small.

    By ascending first objective, a point is behind every front whose lowest second objective is not above its own.
    """
    numbers = np.empty(len(objectives), np.int64)
    lowest: list[float] = []
    seconds = objectives[:, 1].tolist()
    for index in np.lexsort((objectives[:, 1], objectives[:, 0])).tolist():
        number = bisect_right(lowest, seconds[index])
        if number == len(lowest):
            lowest.append(seconds[index])
        else:
            lowest[number] = seconds[index]
        numbers[index] = number
    return numbers


class _Seen:
    """Which genes were visited, by a random hash of 64 bits."""

    def __init__(self, coding: GeneCoding, rng: np.random.Generator) -> None:
        self._factors = rng.integers(1, 2**63, len(coding.sizes), dtype=np.uint64) | np.uint64(1)
        self._hashes: set[int] = set()

    def new(self, genes: Genes) -> Genes:
        """Those that were not there before, each once."""
        hashes = ((genes.astype(np.uint64) + np.uint64(1)) * self._factors).sum(axis=1).tolist()
        rows = []
        for row, value in enumerate(hashes):
            if value not in self._hashes:
                self._hashes.add(value)
                rows.append(row)
        return genes[rows]


def _evaluated(problem: SearchProblem, score: Score, genes: Genes) -> Visited:
    costs = problem.table(genes)
    return Visited(genes=genes, costs=costs, scores=score(genes, costs) if len(genes) else np.empty(0))


def _joined(parts: list[Visited]) -> Visited:
    return Visited(
        genes=np.concatenate([part.genes for part in parts]),
        costs=np.concatenate([part.costs for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
    )


def _select(problem: SearchProblem, pool: Visited, count: int) -> Visited:
    """The best: those that keep cap and limits by front and crowding, behind them the others by latency."""
    kept = problem.kept(pool.costs)
    objectives = np.stack([pool.costs[:, AT_MOST], -pool.scores], axis=1)
    first = np.where(kept, 0.0, len(pool) + pool.costs[:, AT_MOST])
    second = np.zeros(len(pool))
    rows = np.flatnonzero(kept)
    if len(rows):
        numbers = front_numbers(objectives[rows])
        first[rows] = numbers
        for number in range(int(numbers.max()) + 1):
            of_front = rows[numbers == number]
            second[of_front] = -crowding(objectives[of_front])
    best = np.lexsort((second, first))[:count]
    return Visited(genes=pool.genes[best], costs=pool.costs[best], scores=pool.scores[best])


def _children(
    coding: GeneCoding, parents: Visited, count: int, mutation_probability: float, rng: np.random.Generator
) -> Genes:
    """(count, G) by uniform crossover of winners of tournaments of two, which are the earlier ones, and mutation."""
    mothers, fathers = (rng.integers(0, len(parents), (2, count)).min(axis=0) for _ in range(2))
    shape = (count, len(coding.sizes))
    children = np.where(rng.random(shape) < 0.5, parents.genes[mothers], parents.genes[fathers])
    redrawn = rng.random(shape) < mutation_probability
    return coding.canonical(np.where(redrawn, rng.integers(0, coding.sizes, shape), children))
