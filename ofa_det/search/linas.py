"""Fit a predictor, search on it, measure what is promising, repeat (LINAS; Cummings et al. 2022, DyNAS-T)."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.initial import initial_candidates, near_cap
from ofa_det.search.nsga2 import NsgaConfig, Visited, explore
from ofa_det.search.predictor import ApPredictor, Pretraining
from ofa_det.search.problem import SearchProblem, costs_of
from ofa_det.search.strategy import Answers

logger = logging.getLogger(__name__)

_TRIES = 100
_NEAR_CAP = 20
"""Random subnets near each cap that a search on the predictor starts from, beside the measured ones."""


@dataclass(frozen=True, kw_only=True)
class LinasConfig:
    """How the loop proceeds.

    Args:
        first: subnets measured before the first fit.
        batch: subnets measured between two fits.
        min_fill: least latency of the first subnets, as a fraction of what is within reach under the cap.
        explored: part of each batch that a predictor drawn from its uncertainty chooses; the others are those that it
            expects to be best.
        nsga: search on the predictor.
    """

    first: int = 16
    batch: int = 8
    min_fill: float = 0.8
    explored: float = 0.5
    nsga: NsgaConfig = field(default_factory=NsgaConfig)

    def __post_init__(self) -> None:
        for name in ("first", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, found {getattr(self, name)}")
        for name in ("min_fill", "explored"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected 0 <= {name} <= 1, found {getattr(self, name)}")


class Linas:
    """A strategy: measures where a predictor, fitted to all measurements so far, expects the best under each cap.

    Args:
        problem: what is searched.
        config: how the loop proceeds.
        seed: of the random states.
    """

    most_evaluations = None

    def __init__(self, problem: SearchProblem, *, config: LinasConfig, seed: int) -> None:
        self._problem = problem
        self._config = config
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._answers = Answers()
        self._starts = random.Random(seed)
        self._batches = itertools.chain((self._first(),), iter(self._promising, None))
        self._batch: Iterator[SubnetConfig] = iter(())
        self._predicted: dict[SubnetConfig, float] = {}

    @property
    def predicted(self) -> Mapping[SubnetConfig, float]:
        """AP of subnets that were asked for after a fit, as that fit expected it."""
        return self._predicted

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Strategy.identity`."""
        return {"strategy": "linas", "seed": self._seed, **{f"linas.{k}": v for k, v in asdict(self._config).items()}}

    def ask(self, count: int) -> list[SubnetConfig]:
        """Subnets to score next; see `Strategy.ask`."""
        self._answers.check_complete()
        asked = list(itertools.islice(self._batch, count))
        if not asked and count > 0:
            self._batch = next(self._batches)
            asked = list(itertools.islice(self._batch, count))
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Takes scores; see `Strategy.tell`."""
        self._answers.tell(evaluations)

    @cached_property
    def _pretraining(self) -> Pretraining:
        return Pretraining(self._problem, seed=self._seed)

    def predictor(self) -> ApPredictor:
        """Fitted to all that was told."""
        told = list(self._answers.evaluations.values())
        genes = self._problem.coding.encode(evaluation.subnet for evaluation in told)
        costs = np.array([costs_of(evaluation) for evaluation in told])
        return ApPredictor.fit(self._pretraining, genes, costs, np.array([evaluation.ap for evaluation in told]))

    def _first(self) -> Iterator[SubnetConfig]:
        """Near the caps in turn, so that nothing is measured that could not be chosen."""
        problem, fill = self._problem, self._config.min_fill
        streams = [
            (cap_ms, initial_candidates(problem.space, problem.effort(cap_ms), cap_ms, fill, self._starts))
            for cap_ms in problem.caps_ms[::-1]
        ]
        for _, (cap_ms, candidates) in zip(range(self._config.first), itertools.cycle(streams), strict=False):
            tries = itertools.islice(candidates, _TRIES)
            new = (s for s in tries if s not in self._answers and problem.allows(s, cap_ms))
            if (subnet := next(new, None)) is not None:
                self._answers.ask(subnet)
                yield subnet

    def _promising(self) -> Iterator[SubnetConfig]:
        """The batch that follows a fit; empty when nothing new is found."""
        problem, config = self._problem, self._config
        predictor = self.predictor()
        near = (
            near_cap(problem.space, problem.effort(cap_ms), cap_ms, config.min_fill, self._starts)
            for cap_ms in problem.caps_ms
        )
        starts = [s for stream in near for s in itertools.islice(stream, _NEAR_CAP)]
        told = self._answers.evaluations.values()
        measured = [evaluation.subnet for cap_ms in problem.caps_ms for evaluation in problem.best(told, cap_ms)]
        start = problem.coding.encode(dict.fromkeys([*measured[: config.nsga.population // 2], *starts]))
        visited = explore(problem, predictor, start, config=config.nsga, rng=self._rng)
        explored = round(config.explored * config.batch)
        found: list[SubnetConfig] = []
        caps = itertools.cycle(problem.caps_ms[::-1])
        for number, cap_ms in zip(range(config.batch), caps, strict=False):
            chosen = predictor if number < config.batch - explored else predictor.drawn(self._rng)
            if (subnet := self._best(visited, chosen, cap_ms, found)) is not None:
                found.append(subnet)
        if found:
            genes, costs = problem.coding.encode(found), np.array([problem.costs(subnet) for subnet in found])
            self._predicted.update(zip(found, predictor(genes, costs).tolist(), strict=True))
        else:
            logger.info("no new subnet found by the predictor; search ends")
        return self._handed_out(found)

    def _handed_out(self, subnets: Sequence[SubnetConfig]) -> Iterator[SubnetConfig]:
        for subnet in subnets:
            self._answers.ask(subnet)
            yield subnet

    def _best(
        self, visited: Visited, predictor: ApPredictor, cap_ms: float, taken: Sequence[SubnetConfig]
    ) -> SubnetConfig | None:
        """The new one that is expected to be best under a cap, by its exact costs, and is not taken."""
        problem = self._problem
        values = problem.values(predictor(visited.genes, visited.costs), visited.costs, cap_ms)
        for index in np.argsort(-values, kind="stable"):
            if values[index] == -np.inf:
                return None
            (subnet,) = problem.coding.decode(visited.genes[index : index + 1])
            if subnet not in self._answers and subnet not in taken and problem.allows(subnet, cap_ms):
                return subnet
        return None
