"""A search from config to search folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ofa_det.arch.layers import Layer
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import EVALUATIONS_FILE, MEASURED_FOLDER, Evaluation, EvaluationLog, MeasuredAp
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.locks import alone_in_output
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig
from ofa_det.evaluation.holdout import open_fit_and_holdout
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.latency.latencies import Estimate, LatencyPrediction, Precision, checked_safety
from ofa_det.latency.model import LatencyModel, latency_model
from ofa_det.latency.postprocessing import DetectionTail, detection_tail
from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.run_folder import load_supernet
from ofa_det.search.evaluator import Evaluator
from ofa_det.search.evolution import Evolution, EvolutionConfig
from ofa_det.search.report import best_evaluation, write_report
from ofa_det.search.strategy import Strategy, StrategyFactory

ASKED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search of a trained supernet for the subnet of the highest AP under a latency cap.

    Args:
        supernet: run folder of a supernet that was trained with data.holdout_fraction above 0.
        data: the data set it was trained on; the part of the training images that it held out gives the AP, and the
            validation images are not read. The held-out fraction is the supernet's.
        latency_cap_ms: latency that no subnet may exceed, post-processing included, in ms.
        safety: standard errors of the prediction by which every subnet stays below the cap; 0 compares the expected
            latency alone.
        device: phone that the latency is of: pixel2, or a latency_table.json of calibrate_latency.
        precision: of the network on the phone, uint8 or float32.
        runtime: of the phone; by default the device's newest with published figures.
        calibration_images: training images for each candidate's batch-norm statistics.
        evolution: how the search proceeds.
        seed: of evolution.
        accelerator: torch device that scores candidates: auto, cpu, cuda or cuda:N.
        output: folder for subnet.json, pareto.csv, pareto.png and evaluations.jsonl.
        resume: go on with the evaluations in the output folder; evolution.generations and evolution.max_evaluations
            may be raised.
    """

    supernet: str
    data: DataConfig
    latency_cap_ms: float
    safety: float = 1.0
    device: str = "pixel2"
    precision: Precision = "uint8"
    runtime: str | None = None
    calibration_images: int = 128
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    seed: int = 0
    accelerator: str = "cpu"
    output: str = "runs/search"
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.latency_cap_ms > 0:
            raise ValueError(f"expected latency_cap_ms > 0, found {self.latency_cap_ms}")
        checked_safety(self.safety)
        if self.calibration_images < 2:
            raise ValueError(f"expected calibration_images >= 2, found {self.calibration_images}")


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A finished search.

    Args:
        best: subnet of the highest AP.
        evaluations: all, in the order they were scored.
        latency: prediction for the best.
        holdout_images: that AP was measured on.
    """

    best: Evaluation
    evaluations: tuple[Evaluation, ...]
    latency: LatencyPrediction
    holdout_images: int


@alone_in_output
def search(config: SearchConfig, *, strategy: StrategyFactory | None = None, progress: bool = True) -> SearchResult:
    """Searches, and writes the search folder.

    Every AP that is measured is kept in `measured_ap/` of the supernet's run folder, for other caps, seeds and
    strategies.

    Args:
        config: of the search.
        strategy: makes what proposes subnets; by default evolution, with the config's options and seed.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such supernet or data.
        ValueError: an infeasible cap, data other than the supernet's, or a subnet of the strategy that does not serve.
    """
    output = Path(config.output)
    trained = load_supernet(config.supernet)
    description, space = trained.description, trained.network.config.space
    fit, holdout = open_fit_and_holdout(config.data, description, supernet=config.supernet)
    model = latency_model(config.device, precision=config.precision, runtime=config.runtime)
    scorer = SubnetScorer(description, calibration=fit, calibration_images=config.calibration_images, scored=holdout)
    network = trained.network.to(checked_accelerator(config.accelerator))

    def shipped(subnet: SubnetConfig) -> tuple[tuple[Layer, ...], DetectionTail]:
        plan = description.shipped_plan(subnet)
        return plan.layers, detection_tail(plan, description.postprocess, precision=config.precision)

    @cache
    def estimate(subnet: SubnetConfig) -> Estimate:
        return model.estimate(*shipped(subnet))

    def latency_ms(subnet: SubnetConfig) -> float:
        return estimate(subnet).mean_ms

    def at_most_ms(subnet: SubnetConfig) -> float:
        return estimate(subnet).at_most_ms(config.safety)

    new_strategy = strategy or partial(Evolution, config=config.evolution, seed=config.seed)
    asking = new_strategy(space, latency=at_most_ms, latency_cap_ms=config.latency_cap_ms)
    if (output / EVALUATIONS_FILE).exists() and not config.resume:
        raise ValueError(f"expected no {EVALUATIONS_FILE} in {output}, found one; pass --resume or another --output")
    measured = _measured_identity(config, fit, holdout)
    identity = {**measured, **_latency_identity(config, model, latency_ms(space.largest())), **asking.identity}
    evaluate = Evaluator(
        description,
        latency=latency_ms,
        at_most=at_most_ms,
        latency_cap_ms=config.latency_cap_ms,
        measured=MeasuredAp(Path(config.supernet) / MEASURED_FOLDER, measured),
        log=EvaluationLog(Ledger.open(output / EVALUATIONS_FILE, identity)),
        measure=partial(scorer.aps, network),
    )
    evaluations = _search(asking, evaluate, progress)
    prediction = model.predict(*shipped(best_evaluation(evaluations).subnet))
    best = write_report(output, evaluations, prediction, config.latency_cap_ms)
    return SearchResult(best=best, evaluations=tuple(evaluations), latency=prediction, holdout_images=len(holdout))


def _search(strategy: Strategy, evaluate: Evaluator, progress: bool) -> list[Evaluation]:
    """Asks, evaluates and tells until the strategy has nothing more to ask."""
    evaluations: list[Evaluation] = []
    with tqdm(total=strategy.most_evaluations, desc="search", unit="subnet", disable=not progress) as bar:
        while asked := strategy.ask(ASKED_AT_ONCE):
            for evaluation in evaluate(asked):
                evaluations.append(evaluation)
                best = best_evaluation(evaluations)
                bar.set_postfix_str(f"AP {evaluation.ap:.3f}, best {best.ap:.3f} at {best.latency_ms:.1f} ms")
                bar.update()
            strategy.tell(evaluations[-len(asked) :])
    return evaluations


def _measured_identity(config: SearchConfig, fit: CocoDataset, holdout: CocoDataset) -> dict[str, Any]:
    """All that the AP of a subnet depends on."""
    return {
        "supernet_sha256": model_sha256(config.supernet),  # Of the file, whose header has space and post-processing.
        "calibration_sha256": fit.fingerprint(),
        "calibration_images": config.calibration_images,
        "holdout_sha256": hashlib.sha256(json.dumps(holdout.ground_truth()).encode()).hexdigest(),
        "scored_as": "float32",
    }


def _latency_identity(config: SearchConfig, model: LatencyModel, largest_ms: float) -> dict[str, Any]:
    """What decides which subnets keep the cap."""
    return {
        "latency_cap_ms": config.latency_cap_ms,
        "safety": config.safety,
        "latency_model": f"{model.device} {model.precision} {model.runtime}",
        "largest_subnet_ms": largest_ms,  # Another fit of the same name predicts another latency.
    }
