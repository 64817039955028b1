"""How well the search's score of a subnet, by the supernet's weights, ranks what fine-tuning makes of it.

Subnets spread over the latencies of the space are scored as the search does, fine-tuned with a preset, and scored on
the validation images. What is finished is kept: the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmark_recipe import trained_and_scored
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import MEASURED_FOLDER, MeasuredAp
from ofa_det.artefacts.ledger import Ledger
from ofa_det.data.splits import DataConfig
from ofa_det.latency.pixel2 import pixel2_model
from ofa_det.search.choice import RescoreConfig
from ofa_det.search.config import ScoreConfig, SearchConfig
from ofa_det.search.costs import LATENCY, exact_costs
from ofa_det.search.evaluator import measured_aps
from ofa_det.search.problem import SearchProblem
from ofa_det.search.scoring import Scoring

RESULTS_FILE = "proxy.jsonl"
LEAST_SUBNETS = 4
_DRAWN = 4_000


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """Quality of the search's score.

    Args:
        supernet: run folder of a supernet that held images out.
        data: the data set it was trained on; fine-tuning takes all its training images.
        subnets: how many are compared, 8 or more for a figure worth telling.
        preset: the options of fine-tuning, a file or a name in configs/train.
        images: training images that each fine-tuning draws.
        learning_rate: peak; by default the preset's.
        calibration_images: training images for the statistics of each, in the search's score.
        score: how the search scores.
        confidence: share of the bootstrap that the intervals hold.
        resamples: draws of the subnets with replacement, for the intervals.
        seed: of the subnets and of fine-tuning.
        num_workers: processes that prepare batches.
        accelerator: torch device: auto, cpu, cuda or cuda:N.
        output: folder; what is finished there is not run again.
    """

    supernet: str
    data: DataConfig
    subnets: int = 10
    preset: str = "finetune"
    images: int = 4_000
    learning_rate: float | None = None
    calibration_images: int = 64
    score: ScoreConfig = field(default_factory=ScoreConfig)
    confidence: float = 0.95
    resamples: int = 2_000
    seed: int = 0
    num_workers: int = 1
    accelerator: str = "cpu"
    output: str = "runs/benchmark_proxy"

    def __post_init__(self) -> None:
        if self.subnets < LEAST_SUBNETS:
            raise ValueError(f"expected subnets >= {LEAST_SUBNETS}, found {self.subnets}")
        if self.images < 1 or self.resamples < 2:
            raise ValueError(f"expected images >= 1 and resamples >= 2, found {self.images} and {self.resamples}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"expected 0 < confidence < 1, found {self.confidence}")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One subnet, before and after fine-tuning; AP as fractions."""

    subnet: str
    latency_ms: float
    inherited_ap: float
    tuned_ap: float
    minutes: float


class Ranked(NamedTuple):
    """A rank correlation and the interval of its bootstrap."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """`0.81 (0.42 to 0.97)`."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def proxy(config: ProxyConfig) -> None:
    """Scores, fine-tunes and scores again what is not finished; prints the correlation and draws it."""
    scoring = Scoring.open(
        SearchConfig(
            supernet=config.supernet,
            data=config.data,
            latency_cap_ms=1e6,
            calibration_images=config.calibration_images,
            score=config.score,
            rescore=RescoreConfig(share=0.0),
            accelerator=config.accelerator,
        )
    )
    problem = SearchProblem(
        space=scoring.description.detector.space,
        costs_of=exact_costs(scoring.description, pixel2_model("uint8"), safety=0.0),
        caps_ms=(1e6,),
    )
    subnets = spread(problem, config.subnets, seed=config.seed)
    measured = MeasuredAp(Path(config.supernet) / MEASURED_FOLDER, scoring.ap_identity())
    inherited = list(measured_aps(subnets, measured, lambda unknown: map(scoring.ap, tqdm(unknown, desc="inherited"))))
    ledger = Ledger.open(Path(config.output) / RESULTS_FILE, _identity(config, scoring))
    done = {entry["subnet"]: Compared(**entry) for entry in ledger.entries}
    for number, (subnet, ap) in enumerate(zip(subnets, inherited, strict=True)):
        if str(subnet) not in done:
            print(f"fine-tuning {number + 1} of {len(subnets)}: {subnet}", flush=True)
            found = _tuned(config, subnet, ap, problem.costs(subnet).latency_ms)
            ledger.append(asdict(found))
            done[found.subnet] = found
    rows = [done[str(subnet)] for subnet in subnets]
    _tell(config, rows)


def spread(problem: SearchProblem, count: int, *, seed: int) -> list[SubnetConfig]:
    """Random subnets at even distances of latency between the fastest and the slowest.

    Raises:
        ValueError: the space has fewer.
    """
    genes = problem.coding.sample(np.random.default_rng(seed), _DRAWN)
    genes = np.unique(genes, axis=0)
    if len(genes) < count:
        raise ValueError(f"expected a space of {count} subnets or more, found {len(genes)}")
    latencies = problem.table(genes)[:, LATENCY]
    low, high = np.quantile(latencies, [0.01, 0.99])
    taken: list[int] = []
    for target in np.linspace(low, high, count):
        nearest = np.argsort(np.abs(latencies - target), kind="stable")
        taken.append(next(int(row) for row in nearest if int(row) not in taken))
    return problem.coding.decode(genes[taken])


def rank_correlation(
    first: Sequence[float], second: Sequence[float], *, kind: str, resamples: int, confidence: float, seed: int = 0
) -> Ranked:
    """Spearman's or Kendall's, with the interval of a bootstrap over the pairs.

    Args:
        first: of each pair.
        second: of each pair.
        kind: spearman or kendall.
        resamples: draws; those of one value alone, which have no ranks, do not count.
        confidence: share of them that the interval holds.
        seed: of the draws.
    """
    of = {"spearman": spearmanr, "kendall": kendalltau}[kind]
    pairs = np.array([first, second])

    def value(columns: NDArray[np.int64]) -> float:
        one, other = pairs[:, columns]
        return float("nan") if np.ptp(one) == 0 or np.ptp(other) == 0 else float(of(one, other).statistic)

    rng, count = np.random.default_rng(seed), pairs.shape[1]
    drawn = np.array([value(rng.integers(0, count, count)) for _ in range(resamples)])
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Ranked(value(np.arange(count)), float(low), float(high))


def _identity(config: ProxyConfig, scoring: Scoring) -> Mapping[str, Any]:
    """What the results depend on; more subnets may be asked for later only with the same spread."""
    names = ("preset", "images", "learning_rate", "seed", "subnets")
    return {**scoring.ap_identity(), **{name: getattr(config, name) for name in names}}


def _tuned(config: ProxyConfig, subnet: SubnetConfig, inherited_ap: float, latency_ms: float) -> Compared:
    schedule = {"num_images": config.images}
    if config.learning_rate is not None:
        schedule["learning_rate"] = config.learning_rate
    began = time.monotonic()
    result = trained_and_scored(
        replace(config.data, holdout_fraction=0.0),
        config.preset,
        Path(config.output) / str(subnet).replace(" ", "_"),
        supernet=config.supernet,
        subnet=str(subnet),
        schedule=schedule,
        seed=config.seed,
        num_workers=config.num_workers,
        accelerator=config.accelerator,
    )
    return Compared(
        subnet=str(subnet),
        latency_ms=latency_ms,
        inherited_ap=inherited_ap,
        tuned_ap=result["AP"],
        minutes=(time.monotonic() - began) / 60,
    )


def _tell(config: ProxyConfig, rows: Sequence[Compared]) -> None:
    print(f"\n| subnet | ms | AP inherited | AP after {config.images:,} images | minutes |\n|---|---|---|---|---|")
    for row in rows:
        aps = f"{100 * row.inherited_ap:.1f} | {100 * row.tuned_ap:.1f}"
        print(f"| {row.subnet} | {row.latency_ms:.1f} | {aps} | {row.minutes:.1f} |")
    tuned = [row.tuned_ap for row in rows]
    told = []
    for name, values in (
        ("inherited AP", [row.inherited_ap for row in rows]),
        ("latency alone", [row.latency_ms for row in rows]),
    ):
        ranked = {
            kind: rank_correlation(values, tuned, kind=kind, resamples=config.resamples, confidence=config.confidence)
            for kind in ("spearman", "kendall")
        }
        told.append(f"{name}: Spearman {ranked['spearman']}, Kendall {ranked['kendall']}")
    print(f"\nrank correlation with AP after fine-tuning, {len(rows)} subnets, {config.confidence:.0%} of a bootstrap:")
    print("\n".join(told))
    path = Path(config.output) / "proxy.png"
    _draw(rows, told[0], path)
    print(f"wrote {path}")


def _draw(rows: Sequence[Compared], title: str, path: Path) -> None:
    figure = Figure(figsize=(6.4, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    dots = axes.scatter(
        [100 * row.inherited_ap for row in rows],
        [100 * row.tuned_ap for row in rows],
        c=[row.latency_ms for row in rows],
        cmap="viridis",
        zorder=2,
    )
    figure.colorbar(dots, label="predicted ms")
    axes.set_title(title, size=9)
    axes.set_xlabel("AP with the supernet's weights, held-out training images, percent")
    axes.set_ylabel("AP after fine-tuning, validation images, percent")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path)
