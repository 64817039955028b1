from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.costs import Costs
from ofa_det.search.evolution import Evolution, EvolutionConfig
from ofa_det.search.problem import SearchProblem
from ofa_det.search.strategy import Strategy


@dataclass(frozen=True)
class Toy:
    """A space with a made-up latency and AP."""

    space: SearchSpace

    def latency(self, subnet: SubnetConfig) -> float:
        """Grows with every choice, like a phone's."""
        blocks = sum(4 * b.expand_ratio + b.kernel_size for stage in subnet.stages[1:] for b in stage)
        return (subnet.resolution / 64) ** 2 * blocks / 40

    def score(self, subnet: SubnetConfig) -> float:
        """Capacity with falling returns, and a taste for 5x5 kernels: the best lie near a cap, not on one gene."""
        fives = sum(b.kernel_size == 5 for stage in subnet.stages[1:] for b in stage)
        return 1 - 1 / self.latency(subnet) ** 0.5 + 0.01 * fives

    def costs(self, subnet: SubnetConfig) -> Costs:
        """A latency with an error of a tenth; as many multiply-accumulates, in thousands, and a tenth of parameters."""
        ms = self.latency(subnet)
        return Costs(latency_ms=ms / 1.1, at_most_ms=ms, macs=1000 * ms, parameters=100 * ms, file_bytes=110 * ms)

    def evaluate(self, subnets: Iterable[SubnetConfig]) -> list[Evaluation]:
        return [Evaluation(subnet=s, ap=self.score(s), **self.costs(s)._asdict()) for s in subnets]

    def problem(self, *caps: float, **options: Any) -> SearchProblem:
        return SearchProblem(space=self.space, costs_of=self.costs, caps_ms=caps or (20.0,), **options)

    def evolution(self, cap: float = 20, seed: int = 0, **config: float) -> Evolution:
        settings = EvolutionConfig(**{"population": 20, "generations": 5} | config)
        return Evolution(self.problem(cap), config=settings, seed=seed)

    def search(self, asked_at_once: Callable[[], int] = lambda: 8, **settings: float) -> list[Evaluation]:
        """All evaluations of an evolution, in order."""
        return self.run(self.evolution(**settings), asked_at_once)

    def run(
        self, strategy: Strategy, asked_at_once: Callable[[], int] = lambda: 8, most: int = 10**6
    ) -> list[Evaluation]:
        """All evaluations of a strategy, in order."""
        found: list[Evaluation] = []
        while asked := strategy.ask(min(asked_at_once(), most - len(found))):
            evaluations = self.evaluate(asked)
            strategy.tell(evaluations)
            found += evaluations
        return found

    def at(self, *resolutions: int) -> "Toy":
        """The same at other resolutions."""
        return Toy(replace(self.space, resolutions=resolutions))


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy(replace(read_space("ssdlite_mbv3"), resolutions=(64, 96, 128)))
