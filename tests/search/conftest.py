import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_supernets import write_supernet
from search.searches import CAP_MS, POSTPROCESS, NewConfig, SaveSupernet

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.network import DetectionNetwork
from ofa_det.search import report
from ofa_det.search.choice import RescoreConfig
from ofa_det.search.config import SearchConfig
from ofa_det.search.costs import Costs
from ofa_det.search.evolution import Evolution, EvolutionConfig
from ofa_det.search.problem import SearchProblem
from ofa_det.search.scoring import Scoring
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


@pytest.fixture(scope="module")
def data(tiny_root: Path) -> DataConfig:
    return DataConfig(root=str(tiny_root), holdout_fraction=0.5)


@pytest.fixture(scope="module")
def save_supernet(tiny_space: SearchSpace, data: DataConfig) -> SaveSupernet:
    """Saves a random supernet that was trained, so it says, on half of the images."""

    def save(folder: Path, seed: int = 0, space: SearchSpace = tiny_space, **changes: object) -> Path:
        torch.manual_seed(seed)
        detector = DetectorConfig.of(space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes())
        description = ModelDescription(
            detector=detector,
            subnet=None,
            categories=CATEGORIES,
            postprocess=POSTPROCESS,
            holdout_fraction=data.holdout_fraction,
            training_images=open_split(data, "fit").fingerprint(),
        )
        write_supernet(folder, replace(description, **changes))
        return folder

    return save


@pytest.fixture(scope="module")
def new_config(data: DataConfig) -> NewConfig:
    def make(supernet: Path, output: Path, **changes: object) -> SearchConfig:
        options = {
            "supernet": str(supernet),
            "data": replace(data, holdout_fraction=0.0),
            "latency_cap_ms": CAP_MS,
            "calibration_images": 4,
            "strategy": "evolution",
            "baselines": False,
            "rescore": RescoreConfig(candidates=2, calibration_images=6, resamples=5),
            "evolution": EvolutionConfig(population=4, generations=1),
            "output": str(output),
        }
        return SearchConfig(**options | changes)

    return make


@pytest.fixture
def supernet(save_supernet: SaveSupernet, tmp_path: Path) -> Path:
    return save_supernet(tmp_path / "supernet")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[SubnetConfig]:
    """The subnets whose AP is measured, which takes no time: it follows from the subnet."""
    subnets: list[SubnetConfig] = []

    def ap(scorer: SubnetScorer, network: DetectionNetwork, subnet: SubnetConfig) -> float:
        subnets.append(subnet)
        return random.Random(str(subnet)).random()

    def resampled(scoring: object, subnet: SubnetConfig) -> tuple[float, ...]:
        return tuple(random.Random(f"again {subnet}").random() for _ in range(4))

    monkeypatch.setattr(SubnetScorer, "ap", ap)
    monkeypatch.setattr(Scoring, "resampled", resampled)
    for plot in (
        "front_plot",
        "curve_plot",
        "fit_plot",
        "architectures_plot",
    ):  # Half a second each, see test_report.py.
        monkeypatch.setattr(report, plot, lambda *_, **__: b"a picture")
    return subnets
