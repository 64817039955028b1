"""A search from config to search folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.layers import Layer
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import (
    EVALUATIONS_FILE,
    MEASURED_FOLDER,
    Evaluation,
    EvaluationLog,
    MeasuredAp,
    ResampledAp,
)
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.locks import alone_in_output
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import to_plain
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.evaluation.holdout import augmentation_of, open_fit_and_holdout
from ofa_det.evaluation.resampling import resampled_ap
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.evaluation.team import Team
from ofa_det.latency.model import LatencyModel, latency_model
from ofa_det.latency.postprocessing import DetectionTail, detection_tail
from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.ranks import launched_ranks
from ofa_det.models.run_folder import load_supernet
from ofa_det.search.baselines import baselines, controls
from ofa_det.search.choice import choose
from ofa_det.search.config import SearchConfig
from ofa_det.search.costs import Costs
from ofa_det.search.evaluator import Evaluator
from ofa_det.search.evolution import Evolution
from ofa_det.search.file_size import int8_file_bytes
from ofa_det.search.linas import Linas
from ofa_det.search.plots import PredictorFit
from ofa_det.search.problem import SearchProblem
from ofa_det.search.random_search import RandomSearch
from ofa_det.search.report import SearchResult, write_report
from ofa_det.search.strategy import Predicting, Strategy, StrategyFactory

ASKED_AT_ONCE = 8
CONTROL = "largest under {cap_ms:g} ms"

_RESAMPLING_SEED = 0


@alone_in_output
def search(config: SearchConfig, *, strategy: StrategyFactory | None = None, progress: bool = True) -> SearchResult:
    """Searches, and writes the search folder.

    Every AP that is measured is kept in `measured_ap/` of the supernet's run folder, for other caps, seeds and
    strategies. The processes of a `torchrun` score candidates together; the first decides and writes.

    Args:
        config: of the search.
        strategy: makes what proposes subnets; by default the config's, with its options and seed.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such supernet or data.
        ValueError: an infeasible cap, data other than the supernet's, or a subnet of the strategy that does not serve.
    """
    with launched_ranks() as ranks:
        scoring = _Scoring.open(config)
        team: Team[SearchResult] = Team({"score": scoring.ap, "rescore": scoring.resampled}, ranks)
        if not ranks.first:
            return team.serve()
        result = _search(config, scoring, team, strategy or _strategy(config), progress)
        team.dismiss(result)
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scoring:
    """What measures subnets of one supernet.

    Args:
        config: of the search.
        description: of the supernet.
        network: the supernet.
        augmentation: how its training varied them.
        fit: images that it was trained on.
        searched, rescored: held-out images that the search, and the choice behind it, score on.
        scorer, rescorer: of either.
    """

    config: SearchConfig
    description: ModelDescription
    network: DetectionNetwork
    augmentation: AugmentationConfig
    fit: CocoDataset
    searched: CocoDataset
    rescored: CocoDataset
    scorer: SubnetScorer
    rescorer: SubnetScorer

    @classmethod
    def open(cls, config: SearchConfig) -> _Scoring:
        trained = load_supernet(config.supernet)
        description = trained.description
        augmentation = augmentation_of(config.supernet)
        fit, holdout = open_fit_and_holdout(config.data, description, supernet=config.supernet)
        searched, rescored = divided(holdout, config.rescore.share)
        new_scorer = partial(
            SubnetScorer,
            description,
            calibration=fit,
            augmentation=augmentation,
            precision=config.score.precision,
            cache_bytes=1_000_000 * config.score.cache_mb,
        )
        return cls(
            config=config,
            description=description,
            network=trained.network.to(checked_accelerator(config.accelerator)),
            augmentation=augmentation,
            fit=fit,
            searched=searched,
            rescored=rescored,
            scorer=new_scorer(calibration_images=config.calibration_images, scored=searched),
            rescorer=new_scorer(calibration_images=config.rescore.calibration_images, scored=rescored),
        )

    def ap(self, subnet: SubnetConfig) -> float:
        """In the search."""
        return self.scorer.ap(self.network, subnet)

    def resampled(self, subnet: SubnetConfig) -> tuple[float, ...]:
        """In the choice: AP, and that of draws of the images."""
        results = self.rescorer.metrics(self.network, subnet).results
        truth = self.rescored.ground_truth()
        drawn = resampled_ap(truth, results, resamples=self.config.rescore.resamples, seed=_RESAMPLING_SEED)
        return tuple(drawn.tolist())

    def ap_identity(self) -> dict[str, Any]:
        """All that the AP of a subnet depends on."""
        return self._identity(self.searched, self.config.calibration_images)

    def resampled_identity(self) -> dict[str, Any]:
        """All that its resamples depend on."""
        identity = self._identity(self.rescored, self.config.rescore.calibration_images)
        return {**identity, "resamples": self.config.rescore.resamples, "resampling_seed": _RESAMPLING_SEED}

    def _identity(self, scored: CocoDataset, calibration_images: int) -> dict[str, Any]:
        return {
            "supernet_sha256": model_sha256(self.config.supernet),  # Of the file, whose header has the space, too.
            "calibration_sha256": self.fit.fingerprint(),
            "calibration_images": calibration_images,
            "calibration_augmentation": to_plain(self.augmentation),
            "holdout_sha256": hashlib.sha256(json.dumps(scored.ground_truth()).encode()).hexdigest(),
            "scored_as": self.config.score.precision,
        }


def divided(holdout: CocoDataset, share: float) -> tuple[CocoDataset, CocoDataset]:
    """Held-out images for the search and, at even distances, this share of them for the choice.

    Args:
        holdout: all of them.
        share: of the choice; 0 gives both all images.

    Raises:
        ValueError: too few images, or no object in either part.
    """
    if share == 0:
        return holdout, holdout
    positions = np.arange(len(holdout))
    chosen = np.floor((positions + 1) * share) > np.floor(positions * share)
    parts = holdout.subset(positions[~chosen]), holdout.subset(positions[chosen])
    for part in parts:
        if len(part) == 0 or len(part.objects().boxes) == 0:
            raise ValueError(
                f"expected held-out images with objects for the search and for the choice behind it, found "
                f"{len(holdout)} images in all; set rescore.share to 0, or hold out more when training"
            )
    return parts


def _strategy(config: SearchConfig) -> StrategyFactory:
    """The strategy that a config names."""
    if config.strategy == "evolution":
        return partial(Evolution, config=config.evolution, seed=config.seed)
    if config.strategy == "random":
        return partial(RandomSearch, config=config.random, seed=config.seed)
    return partial(Linas, config=config.linas, seed=config.seed)


def _search(
    config: SearchConfig, scoring: _Scoring, team: Team[SearchResult], new_strategy: StrategyFactory, progress: bool
) -> SearchResult:
    """The first rank's part."""
    output = Path(config.output)
    description = scoring.description
    model = latency_model(config.device, precision=config.precision, runtime=config.runtime)

    def shipped(subnet: SubnetConfig) -> tuple[tuple[Layer, ...], DetectionTail]:
        plan = description.shipped_plan(subnet)
        return plan.layers, detection_tail(plan, description.postprocess, precision=config.precision)

    def costs_of(subnet: SubnetConfig) -> Costs:
        plan = description.shipped_plan(subnet)
        tail = detection_tail(plan, description.postprocess, precision=config.precision)
        estimate = model.estimate(plan.layers, tail)
        return Costs(
            latency_ms=estimate.mean_ms,
            at_most_ms=estimate.at_most_ms(config.safety),
            macs=plan.macs,
            parameters=plan.parameters,
            file_bytes=int8_file_bytes(plan),
        )

    problem = SearchProblem(
        space=description.detector.space,
        costs_of=costs_of,
        caps_ms=config.caps_ms,
        limits=config.limits,
        objective=config.objective,
    )
    asking = new_strategy(problem)
    if (output / EVALUATIONS_FILE).exists() and not config.resume:
        raise ValueError(f"expected no {EVALUATIONS_FILE} in {output}, found one; pass --resume or another --output")
    identity = {**scoring.ap_identity(), **_problem_identity(config, model, problem), **asking.identity}
    measured = Path(config.supernet) / MEASURED_FOLDER
    evaluate = Evaluator(
        problem,
        measured=MeasuredAp(measured, scoring.ap_identity()),
        log=EvaluationLog(Ledger.open(output / EVALUATIONS_FILE, identity)),
        measure=partial(team.measure, "score"),
    )
    largest = controls(problem, seed=0)
    roles = dict(baselines(problem)) if config.baselines else {}
    for cap_ms, subnet in largest.items():
        roles.setdefault(subnet, CONTROL.format(cap_ms=cap_ms))
    evaluations = _asked(config, problem, asking, evaluate, list(roles), progress)
    choices, rescored = choose(
        problem,
        evaluations,
        largest,
        candidates=config.rescore.candidates,
        known=ResampledAp(measured, scoring.resampled_identity()),
        measure=partial(team.measure, "rescore"),
        progress=progress,
    )
    result = SearchResult(
        choices=choices,
        latencies=tuple(model.predict(*shipped(choice.best.subnet)) for choice in choices),
        evaluations=tuple(evaluations),
        roles=roles,
        rescored=rescored,
        holdout_images=len(scoring.searched),
        rescore_images=len(scoring.rescored),
        other_images=config.rescore.share > 0,
        safety=config.safety,
        strategy=str(asking.identity.get("strategy", "the strategy")),
        fit=_fit(asking, evaluations),
    )
    write_report(output, result)
    return result


def _asked(
    config: SearchConfig,
    problem: SearchProblem,
    strategy: Strategy,
    evaluate: Evaluator,
    known: list[SubnetConfig],
    progress: bool,
) -> list[Evaluation]:
    """Tells the baselines, then asks, evaluates and tells until the strategy or the budget is at its end."""
    most, expected = config.max_evaluations, strategy.most_evaluations
    total = len(known) + (most if expected is None else min(most, expected))
    evaluations: list[Evaluation] = []
    with tqdm(total=total, desc="search", unit="subnet", disable=not progress) as bar:

        def evaluated(subnets: list[SubnetConfig]) -> list[Evaluation]:
            new = []
            for evaluation in evaluate(subnets):
                new.append(evaluation)
                best = problem.best([*evaluations, *new], problem.caps_ms[-1])
                told = f", best {100 * best[0].ap:.1f} at {best[0].latency_ms:.1f} ms" if best else ""
                bar.set_postfix_str(f"AP {100 * evaluation.ap:.1f}{told}")
                bar.update()
            evaluations.extend(new)
            return new

        strategy.tell(evaluated(known))
        while asked := strategy.ask(min(ASKED_AT_ONCE, len(known) + most - len(evaluations))):
            if wrong := [subnet for subnet in asked if not problem.allows(subnet)]:
                raise ValueError(
                    f"expected subnets of the space within {problem.caps_ms[-1]:g} ms and the limits from the "
                    f"strategy, found {wrong[0]}"
                )
            strategy.tell(evaluated(asked))
    return evaluations


def _fit(strategy: Strategy, evaluations: list[Evaluation]) -> PredictorFit | None:
    """Of a strategy that predicted."""
    if not isinstance(strategy, Predicting) or not strategy.predicted:
        return None
    predicted = strategy.predicted
    pairs = [(predicted[e.subnet], e.ap) for e in evaluations if e.subnet in predicted]
    return PredictorFit(predicted=tuple(p for p, _ in pairs), measured=tuple(m for _, m in pairs))


def _problem_identity(config: SearchConfig, model: LatencyModel, problem: SearchProblem) -> Mapping[str, Any]:
    """What decides which subnets may be asked for, and which are better."""
    return {
        "latency_cap_ms": list(problem.caps_ms),
        "safety": config.safety,
        "limits": config.limits,
        "objective": config.objective,
        "baselines": config.baselines,
        "latency_model": f"{model.device} {model.precision} {model.runtime}",
        # Another fit of the same name predicts another latency.
        "largest_subnet_ms": problem.costs(problem.space.largest()).latency_ms,
    }
