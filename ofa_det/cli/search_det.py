"""Searches the subnet that fits a latency cap."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.layer_plan import detector_plan
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.cli.command import command
from ofa_det.cli.device import checked_device
from ofa_det.data.categories import check_categories
from ofa_det.data.class_columns import as_exported
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.candidate_scoring import CandidateScorer
from ofa_det.evaluation.predictors import model_sha256
from ofa_det.latency.model import DEFAULT_RUNTIME, LatencyModel, pixel2_model
from ofa_det.latency.precision import Precision
from ofa_det.models.run_folder import TrainedSupernet, load_supernet
from ofa_det.search.evolution import Candidate, EvolutionConfig, evolve
from ofa_det.search.initial import feasible_resolutions
from ofa_det.search.record import Evaluation, EvaluationRecord
from ofa_det.search.report import LatencyTerms, best_evaluation, write_report

RECORD_FILE = "evaluations.jsonl"


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search of a trained supernet for the subnet of the highest AP under a latency cap.

    Args:
        supernet: run folder of a supernet that was trained with data.holdout_fraction above 0.
        data: the data set it was trained on; the part of the training images that it held out gives the AP, and the
            validation images are not read. The held-out fraction is the supernet's.
        latency_cap_ms: predicted Pixel 2 latency that no subnet may exceed, in ms, one thread.
        precision: of the network on the phone, uint8 or float32.
        runtime: of the phone, one with published figures.
        calibration_images: training images for each candidate's batch-norm statistics.
        evolution: how the search proceeds.
        seed: of the search.
        device: torch device that scores candidates, for example cpu or cuda.
        output: folder for subnet.json, pareto.csv, pareto.png and evaluations.jsonl.
        resume: go on with the evaluations in the output folder; evolution.generations and evolution.max_evaluations
            may be raised.
    """

    supernet: str
    data: DataConfig
    latency_cap_ms: float
    precision: Precision = "uint8"
    runtime: str = DEFAULT_RUNTIME
    calibration_images: int = 128
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    seed: int = 0
    device: str = "cpu"
    output: str = "runs/search"
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.latency_cap_ms > 0:
            raise ValueError(f"expected latency_cap_ms > 0, found {self.latency_cap_ms}")
        if self.calibration_images < 2:
            raise ValueError(f"expected calibration_images >= 2, found {self.calibration_images}")


def run(config: SearchConfig) -> None:
    """Searches, and writes the search folder."""
    output = Path(config.output)
    trained = load_supernet(config.supernet)
    detector, space = as_exported(trained.supernet.config, trained.categories), trained.supernet.space
    fit, holdout = _open_splits(config, trained)
    model = pixel2_model(config.precision, config.runtime)

    def latency(subnet: SubnetConfig) -> float:
        return model.predict(detector_plan(detector, subnet).layers).mean_ms

    feasible_resolutions(space, latency, config.latency_cap_ms)  # An impossible cap leaves no record behind.
    open_record = EvaluationRecord.resume if config.resume else EvaluationRecord.create
    record = open_record(output / RECORD_FILE, _identity(config, model, latency(space.largest()), fit, holdout))
    scorer = CandidateScorer(
        trained.supernet.to(checked_device(config.device)),
        trained.categories,
        calibration=fit,
        calibration_images=config.calibration_images,
        holdout=holdout,
    )

    def score(subnet: SubnetConfig) -> float:
        known = record.score(subnet)
        return scorer(subnet) if known is None else known

    candidates = evolve(
        space,
        score=score,
        latency=latency,
        latency_cap_ms=config.latency_cap_ms,
        config=config.evolution,
        seed=config.seed,
    )
    evaluations = _collect(candidates, record, detector, config.evolution.most_evaluations)
    prediction = model.predict(detector_plan(detector, best_evaluation(evaluations).subnet).layers)
    best = write_report(
        output,
        evaluations,
        LatencyTerms(
            cap_ms=config.latency_cap_ms,
            error_ms=prediction.error_ms,
            device=model.device,
            runtime=model.runtime,
            precision=model.precision,
        ),
    )
    print(f"{best.subnet}")
    print(
        f"AP {best.ap:.3f} on {len(holdout)} held-out training images, {prediction} on {model.device} "
        f"({model.precision}, {model.runtime}, {model.threads} thread), cap {config.latency_cap_ms:g} ms"
    )
    print(f"{len(evaluations)} subnets scored; written to {output}")


def _open_splits(config: SearchConfig, trained: TrainedSupernet) -> tuple[CocoDataset, CocoDataset]:
    """The images the supernet was trained on, and those that it held out."""
    fraction = trained.holdout_fraction
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
    check_categories(holdout.categories, trained.categories, source=data.train_annotations, of=config.supernet)
    if fit.fingerprint() != trained.training_images:
        raise ValueError(
            f"expected the images that {config.supernet} was trained on, found others in {data.train_annotations}, so "
            "held-out images may have been trained on; use the same data options as its training"
        )
    return fit, holdout


def _identity(
    config: SearchConfig, model: LatencyModel, largest_ms: float, fit: CocoDataset, holdout: CocoDataset
) -> dict[str, Any]:
    """What decides which subnets are scored, and how; a search may be continued with more evaluations."""
    evolution = asdict(config.evolution)
    del evolution["generations"], evolution["max_evaluations"]
    return {
        "supernet_sha256": model_sha256(config.supernet),  # Of the weights file, whose header names the space.
        "calibration_sha256": fit.fingerprint(),
        "calibration_images": config.calibration_images,
        "holdout_sha256": hashlib.sha256(json.dumps(holdout.ground_truth()).encode()).hexdigest(),
        "latency_cap_ms": config.latency_cap_ms,
        "latency_model": f"{model.device} {model.precision} {model.runtime}",
        "largest_subnet_ms": largest_ms,  # Another fit of the same name predicts another latency.
        "seed": config.seed,
        "evolution": evolution,
    }


def _collect(
    candidates: Iterable[Candidate], record: EvaluationRecord, detector: DetectorConfig, most: int
) -> list[Evaluation]:
    """Records candidates as they are scored, under a progress bar."""
    evaluations: list[Evaluation] = []
    with tqdm(total=most, desc="search", unit="subnet") as bar:
        for candidate in candidates:
            plan = detector_plan(detector, candidate.subnet)
            evaluation = Evaluation(
                subnet=candidate.subnet,
                ap=candidate.ap,
                latency_ms=candidate.latency_ms,
                macs=plan.macs,
                params=plan.parameters,
            )
            record.add(evaluation)
            evaluations.append(evaluation)
            best = best_evaluation(evaluations)
            bar.set_postfix_str(f"AP {candidate.ap:.3f}, best {best.ap:.3f} at {best.latency_ms:.1f} ms", refresh=False)
            bar.update()
    return evaluations


main = command("search", "Find the best subnet under a latency cap.", SearchConfig, run)
