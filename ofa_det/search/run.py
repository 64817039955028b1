"""A search from config to search folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ofa_det.arch.classes import check_categories
from ofa_det.arch.description import ModelDescription
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import (
    EVALUATIONS_FILE,
    MEASURED_FOLDER,
    Evaluation,
    EvaluationLog,
    MeasuredAp,
)
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.latency.latencies import LatencyPrediction, Precision
from ofa_det.latency.model import LatencyModel, latency_model
from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.run_folder import load_supernet
from ofa_det.search.evolution import Evolution, EvolutionConfig
from ofa_det.search.report import best_evaluation, write_report
from ofa_det.search.strategy import Strategy

ASKED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search of a trained supernet for the subnet of the highest AP under a latency cap.

    Args:
        supernet: run folder of a supernet that was trained with data.holdout_fraction above 0.
        data: the data set it was trained on; the part of the training images that it held out gives the AP, and the
            validation images are not read. The held-out fraction is the supernet's.
        latency_cap_ms: predicted latency that no subnet may exceed, in ms.
        device: phone that the latency is of.
        precision: of the network on the phone, uint8 or float32.
        runtime: of the phone; by default the device's newest with published figures.
        calibration_images: training images for each candidate's batch-norm statistics.
        evolution: how the search proceeds.
        seed: of the search.
        accelerator: torch device that scores candidates, for example cpu or cuda.
        output: folder for subnet.json, pareto.csv, pareto.png and evaluations.jsonl.
        resume: go on with the evaluations in the output folder; evolution.generations and evolution.max_evaluations
            may be raised.
    """

    supernet: str
    data: DataConfig
    latency_cap_ms: float
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


def search(config: SearchConfig, *, progress: bool = True) -> SearchResult:
    """Searches, and writes the search folder.

    Every AP that is measured is kept in `measured_ap/` of the supernet's run folder, for other caps, seeds and
    strategies.

    Args:
        config: of the search.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such supernet or data.
        ValueError: an infeasible cap, or data other than the supernet's.
    """
    output = Path(config.output)
    trained = load_supernet(config.supernet)
    description, space = trained.description, trained.network.config.space
    fit, holdout = _open_splits(config, description)
    model = latency_model(config.device, precision=config.precision, runtime=config.runtime)
    scorer = SubnetScorer(description, calibration=fit, calibration_images=config.calibration_images, scored=holdout)
    network = trained.network.to(checked_accelerator(config.accelerator))

    def latency_ms(subnet: SubnetConfig) -> float:
        return model.predict(description.shipped_plan(subnet).layers).mean_ms

    strategy = Evolution(
        space,
        latency=latency_ms,
        latency_cap_ms=config.latency_cap_ms,
        config=config.evolution,
        seed=config.seed,
    )
    measured = _measured_identity(config, fit, holdout)
    if (output / EVALUATIONS_FILE).exists() and not config.resume:
        raise ValueError(f"expected no {EVALUATIONS_FILE} in {output}, found one; pass --resume or another --output")
    identity = measured | _search_identity(config, model, latency_ms(space.largest()))
    log = EvaluationLog(Ledger.open(output / EVALUATIONS_FILE, identity))
    known = MeasuredAp(Path(config.supernet) / MEASURED_FOLDER, measured)

    def evaluate(subnets: Sequence[SubnetConfig]) -> Iterator[Evaluation]:
        for subnet in subnets:
            ap = known.get(subnet)
            if ap is None:
                ap = scorer.ap(network, subnet)
                known.add(subnet, ap)
            plan = description.shipped_plan(subnet)
            latency = latency_ms(subnet)
            yield Evaluation(subnet=subnet, ap=ap, latency_ms=latency, macs=plan.macs, parameters=plan.parameters)

    evaluations = _search(strategy, evaluate, log, config.evolution.most_evaluations, progress)
    prediction = model.predict(description.shipped_plan(best_evaluation(evaluations).subnet).layers)
    best = write_report(output, evaluations, prediction, config.latency_cap_ms)
    return SearchResult(best=best, evaluations=tuple(evaluations), latency=prediction, holdout_images=len(holdout))


def _search(
    strategy: Strategy,
    evaluate: Callable[[Sequence[SubnetConfig]], Iterator[Evaluation]],
    log: EvaluationLog,
    most: int,
    progress: bool,
) -> list[Evaluation]:
    """Asks, evaluates, tells and records until the strategy has nothing more to ask."""
    evaluations: list[Evaluation] = []
    with tqdm(total=most, desc="search", unit="subnet", disable=not progress) as bar:
        while asked := strategy.ask(ASKED_AT_ONCE):
            for evaluation in evaluate(asked):
                log.add(evaluation)
                evaluations.append(evaluation)
                best = best_evaluation(evaluations)
                bar.set_postfix_str(f"AP {evaluation.ap:.3f}, best {best.ap:.3f} at {best.latency_ms:.1f} ms")
                bar.update()
            strategy.tell(evaluations[-len(asked) :])
    return evaluations


def _open_splits(config: SearchConfig, description: ModelDescription) -> tuple[CocoDataset, CocoDataset]:
    """The images the supernet was trained on, and those that it held out."""
    fraction = description.holdout_fraction
    if fraction == 0:
        raise ValueError(
            f"expected a supernet trained with --data.holdout_fraction above 0, found 0 in {config.supernet}; "
            "train one that holds out images to score subnets on, for example 0.2"
        )
    if config.data.holdout_fraction not in (0, fraction):
        raise ValueError(
            f"expected data.holdout_fraction {fraction:g}, that of {config.supernet}, found "
            f"{config.data.holdout_fraction:g}; leave it out"
        )
    data = replace(config.data, holdout_fraction=fraction)
    fit, holdout = open_split(data, "fit"), open_split(data, "holdout")
    check_categories(holdout.categories, description.categories, source=data.train_annotations, of=config.supernet)
    if fit.fingerprint() != description.training_images:
        raise ValueError(
            f"expected the images that {config.supernet} was trained on, found others in {data.train_annotations}, so "
            "held-out images may have been trained on; use the same data options as its training"
        )
    return fit, holdout


def _measured_identity(config: SearchConfig, fit: CocoDataset, holdout: CocoDataset) -> dict[str, Any]:
    """All that the AP of a subnet depends on."""
    return {
        "supernet_sha256": model_sha256(config.supernet),  # Of the file, whose header has space and post-processing.
        "calibration_sha256": fit.fingerprint(),
        "calibration_images": config.calibration_images,
        "holdout_sha256": hashlib.sha256(json.dumps(holdout.ground_truth()).encode()).hexdigest(),
        "scored_as": "float32",
    }


def _search_identity(config: SearchConfig, model: LatencyModel, largest_ms: float) -> dict[str, Any]:
    """What decides which subnets are scored; a search may be continued with more evaluations."""
    evolution = asdict(config.evolution)
    del evolution["generations"], evolution["max_evaluations"]
    return {
        "latency_cap_ms": config.latency_cap_ms,
        "latency_model": f"{model.device} {model.precision} {model.runtime}",
        "largest_subnet_ms": largest_ms,  # Another fit of the same name predicts another latency.
        "seed": config.seed,
        **{f"evolution.{name}": value for name, value in evolution.items()},
    }
