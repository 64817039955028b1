from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pytest

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.search.evolution import Evolution, EvolutionConfig


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

    def evaluate(self, subnets: Iterable[SubnetConfig]) -> list[Evaluation]:
        return [
            Evaluation(subnet=s, ap=self.score(s), latency_ms=self.latency(s), macs=1, parameters=1) for s in subnets
        ]

    def evolution(self, cap: float = 20, seed: int = 0, **config: float) -> Evolution:
        settings = EvolutionConfig(**{"population": 20, "generations": 5} | config)
        return Evolution(self.space, latency=self.latency, latency_cap_ms=cap, config=settings, seed=seed)

    def search(self, asked_at_once: Callable[[], int] = lambda: 8, **settings: float) -> list[Evaluation]:
        """All evaluations of a search, in order."""
        strategy = self.evolution(**settings)
        found: list[Evaluation] = []
        while asked := strategy.ask(asked_at_once()):
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
