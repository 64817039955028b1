"""What a search is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ofa_det.arch.classes import ClassNumbering, check_numbering
from ofa_det.data.splits import DataConfig
from ofa_det.evaluation.subnets import ScorePrecision
from ofa_det.latency.latencies import Precision, checked_safety
from ofa_det.search.choice import RescoreConfig
from ofa_det.search.evolution import EvolutionConfig
from ofa_det.search.int8_gap import LEAST_GAP_SUBNETS
from ofa_det.search.linas import LinasConfig
from ofa_det.search.objective import Limits, Objective
from ofa_det.search.random_search import RandomConfig

StrategyName = Literal["linas", "evolution", "random"]


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How candidates are scored.

    Args:
        precision: float32, or int8, which is simulated as the file will compute.
        gap_subnets: subnets of a float32 search that are scored in int8, too; what int8 takes from the others is
            predicted from them (APQ), and the choice is made on int8 scores. 0 leaves int8 out of account.
        cache_mb: decoded images that stay in memory, in megabytes (10^6 bytes), for calibration and for scoring each;
            with several processes in each of them.
    """

    precision: ScorePrecision = "float32"
    gap_subnets: int = 0
    cache_mb: int = 2_000

    def __post_init__(self) -> None:
        if self.precision not in get_args(ScorePrecision):
            raise ValueError(f"expected a precision of {', '.join(get_args(ScorePrecision))}, found {self.precision!r}")
        if self.gap_subnets != 0 and self.gap_subnets < LEAST_GAP_SUBNETS:
            raise ValueError(f"expected gap_subnets of 0, or {LEAST_GAP_SUBNETS} or more, found {self.gap_subnets}")
        if self.gap_subnets and self.precision == "int8":
            raise ValueError(
                f"expected gap_subnets 0 with precision int8, which needs no prediction, found {self.gap_subnets}"
            )
        if self.cache_mb < 0:
            raise ValueError(f"expected cache_mb >= 0, found {self.cache_mb}")

    @property
    def chosen_in(self) -> ScorePrecision:
        """What the best are scored again in."""
        return "int8" if self.gap_subnets else self.precision


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search of a trained supernet for the subnets of the highest AP under latency caps.

    Args:
        supernet: run folder of a supernet that was trained with data.holdout_fraction above 0.
        data: the data set it was trained on; the part of the training images that it held out gives the AP, and the
            validation images are not read. The held-out fraction is the supernet's.
        latency_cap_ms: latency that no subnet may exceed, post-processing included, in ms; several, as a list or by
            repeating the option, are searched at once.
        safety: standard errors of the prediction by which every subnet stays below the cap; 0 compares the expected
            latency alone.
        limits: what no subnet may exceed beside latency.
        objective: what is made as large as possible.
        device: phone that the latency is of: pixel2, or a latency_table.json of calibrate_latency.
        precision: of the network on the phone, uint8 or float32.
        runtime: of the phone; by default the device's newest with published figures.
        classes: of the file's score columns, as export takes them: competition, a column for every category id up to
            the greatest, or compact, one for every category; each costs time.
        strategy: linas (a predictor of AP, NSGA-II on it, measuring what it promises), evolution or random.
        max_evaluations: subnets that the strategy may have measured; baselines come on top.
        calibration_images: training images for each candidate's batch-norm statistics.
        score: how candidates are scored.
        rescore: how the best are scored again, on other images, before one is chosen.
        baselines: whether the smallest, the largest and a few uniform subnets are measured, too; the largest under each
            cap always is.
        linas: options of that strategy.
        evolution: options of that strategy.
        random: options of that strategy.
        seed: of the strategy.
        accelerator: torch device that scores candidates: auto, cpu, cuda or cuda:N.
        output: folder for subnet.json (with several caps subnet_40ms.json and so on), search.json, pareto.csv,
            evaluations.jsonl and pictures.
        resume: go on with the evaluations in the output folder; max_evaluations and evolution.generations may be
            raised.
    """

    supernet: str
    data: DataConfig
    latency_cap_ms: float | tuple[float, ...]
    safety: float = 1.0
    limits: Limits = field(default_factory=Limits)
    objective: Objective = field(default_factory=Objective)
    device: str = "pixel2"
    precision: Precision = "uint8"
    runtime: str | None = None
    classes: ClassNumbering = "competition"
    strategy: StrategyName = "linas"
    max_evaluations: int = 120
    calibration_images: int = 128
    score: ScoreConfig = field(default_factory=ScoreConfig)
    rescore: RescoreConfig = field(default_factory=RescoreConfig)
    baselines: bool = True
    linas: LinasConfig = field(default_factory=LinasConfig)
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    random: RandomConfig = field(default_factory=RandomConfig)
    seed: int = 0
    accelerator: str = "cpu"
    output: str = "runs/search"
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.caps_ms or not all(cap_ms > 0 for cap_ms in self.caps_ms):
            raise ValueError(f"expected latency_cap_ms > 0, one or several, found {self.latency_cap_ms}")
        checked_safety(self.safety)
        check_numbering(self.classes)
        if self.strategy not in get_args(StrategyName):
            raise ValueError(f"expected a strategy of {', '.join(get_args(StrategyName))}, found {self.strategy!r}")
        if self.max_evaluations < 1:
            raise ValueError(f"expected max_evaluations >= 1, found {self.max_evaluations}")
        if self.calibration_images < 2:
            raise ValueError(f"expected calibration_images >= 2, found {self.calibration_images}")

    @property
    def caps_ms(self) -> tuple[float, ...]:
        """The latency caps, ascending, each once."""
        given = self.latency_cap_ms
        return tuple(sorted(set(given))) if isinstance(given, tuple | list) else (given,)
