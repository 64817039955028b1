"""A search from config to search folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ofa_det.arch.classes import ClassNumbering
from ofa_det.arch.description import ModelDescription
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
from ofa_det.artefacts.locks import only_writer
from ofa_det.evaluation.team import Team
from ofa_det.latency.latencies import LatencyPrediction
from ofa_det.latency.model import LatencyModel, latency_model, shipped_work
from ofa_det.models.ranks import launched_ranks
from ofa_det.search.baselines import baselines, controls
from ofa_det.search.choice import Choice, choose
from ofa_det.search.config import SearchConfig
from ofa_det.search.costs import exact_costs
from ofa_det.search.drawing import DrawnSubnet
from ofa_det.search.evaluator import Evaluator, measured_aps
from ofa_det.search.evolution import Evolution
from ofa_det.search.int8_gap import GapPredictor, gap_subnets
from ofa_det.search.linas import Linas
from ofa_det.search.plots import PredictorFit
from ofa_det.search.problem import SearchProblem
from ofa_det.search.random_search import RandomSearch
from ofa_det.search.report import SearchResult, write_report
from ofa_det.search.scoring import RESCORE, SCORE, SCORE_INT8, Scoring
from ofa_det.search.strategy import Predicting, Strategy, StrategyFactory

ASKED_AT_ONCE = 8
CONTROL = "largest under {cap_ms:g} ms"
BOTH_WAYS = "scored in float and int8"


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
        scoring = Scoring.open(config)
        team: Team[SearchResult] = Team(scoring.jobs, ranks)
        if not ranks.first:
            return team.serve()
        with only_writer(config.output):
            result = _search(config, scoring, team, strategy or _strategy(config), progress)
        team.dismiss(result)
        return result


def _strategy(config: SearchConfig) -> StrategyFactory:
    """The strategy that a config names."""
    if config.strategy == "evolution":
        return partial(Evolution, config=config.evolution, seed=config.seed)
    if config.strategy == "random":
        return partial(RandomSearch, config=config.random, seed=config.seed)
    return partial(Linas, config=config.linas, seed=config.seed)


def _search(
    config: SearchConfig, scoring: Scoring, team: Team[SearchResult], new_strategy: StrategyFactory, progress: bool
) -> SearchResult:
    """The first rank's part."""
    model = latency_model(config.device, precision=config.precision, runtime=config.runtime)
    problem = SearchProblem(
        space=scoring.description.detector.space,
        costs_of=exact_costs(scoring.description, model, safety=config.safety, numbering=config.classes),
        caps_ms=config.caps_ms,
        limits=config.limits,
        objective=config.objective,
    )
    asking = new_strategy(problem)
    identity = {**scoring.ap_identity(), **_problem_identity(config, model, problem), **asking.identity}
    log = _open_log(config, identity)
    measured = Path(config.supernet) / MEASURED_FOLDER
    known = MeasuredAp(measured, scoring.ap_identity())
    largest = controls(problem, seed=0)
    gap = None
    if config.score.gap_subnets:
        gap = _gap(config, problem, known, MeasuredAp(measured, scoring.int8_ap_identity()), team, progress)
    roles = _roles(config, problem, largest, () if gap is None else gap.subnets)
    evaluate = Evaluator(
        problem,
        measured=known,
        log=log,
        measure=partial(team.measure, SCORE),
        **({} if gap is None else {"corrected": gap.int8_ap}),
    )
    evaluations = _asked(config, problem, asking, evaluate, list(roles), progress)
    choices, rescored = choose(
        problem,
        evaluations,
        largest,
        candidates=config.rescore.candidates,
        known=ResampledAp(measured, scoring.resampled_identity()),
        measure=partial(team.measure, RESCORE),
        progress=progress,
    )
    predict = partial(_predicted, scoring.description, model, config.classes)
    result = SearchResult(
        choices=choices,
        latencies=tuple(predict(choice.best.subnet) for choice in choices),
        evaluations=tuple(evaluations),
        roles=roles,
        rescored=rescored,
        holdout_images=len(scoring.searched),
        rescore_images=len(scoring.rescored),
        other_images=config.rescore.share > 0,
        safety=config.safety,
        strategy=str(asking.identity.get("strategy", "the strategy")),
        scored_as=config.score.chosen_in,
        fit=_fit(asking, evaluations),
        gap=None if gap is None else gap.fit,
        space=problem.space,
        drawn=_drawn(choices, predict),
    )
    write_report(Path(config.output), result)
    return result


def _open_log(config: SearchConfig, identity: Mapping[str, Any]) -> EvaluationLog:
    """The evaluations of this search so far; those of another are refused."""
    path = Path(config.output) / EVALUATIONS_FILE
    if path.exists() and not config.resume:
        raise ValueError(
            f"expected no {EVALUATIONS_FILE} in {config.output}, found one; pass --resume or another --output"
        )
    return EvaluationLog(Ledger.open(path, identity))


def _roles(
    config: SearchConfig,
    problem: SearchProblem,
    largest: Mapping[float, SubnetConfig],
    both_ways: Sequence[SubnetConfig],
) -> dict[SubnetConfig, str]:
    """The subnets that are evaluated whatever the strategy asks for, and what each is; the first role counts."""
    roles = dict(baselines(problem)) if config.baselines else {}
    for cap_ms, subnet in largest.items():
        roles.setdefault(subnet, CONTROL.format(cap_ms=cap_ms))
    for subnet in both_ways:
        roles.setdefault(subnet, BOTH_WAYS)
    return roles


def _predicted(
    description: ModelDescription, model: LatencyModel, numbering: ClassNumbering, subnet: SubnetConfig
) -> LatencyPrediction:
    """Of the file that a subnet becomes."""
    plan, tail = shipped_work(description, subnet, precision=model.precision, numbering=numbering)
    return model.predict(plan.layers, tail)


def _gap(
    config: SearchConfig,
    problem: SearchProblem,
    float_aps: MeasuredAp,
    int8_aps: MeasuredAp,
    team: Team[SearchResult],
    progress: bool,
) -> GapPredictor:
    """Scores a few subnets in float and in int8, and learns what int8 takes."""
    subnets = gap_subnets(problem, config.score.gap_subnets, seed=config.seed)
    jobs = ((SCORE, float_aps), (SCORE_INT8, int8_aps))
    with tqdm(total=len(jobs) * len(subnets), desc="float and int8", unit="subnet", disable=not progress) as bar:

        def scored(job: str, known: MeasuredAp) -> list[float]:
            found = []
            for ap in measured_aps(subnets, known, partial(team.measure, job)):
                found.append(ap)
                bar.update()
            return found

        float_ap, int8_ap = (scored(*job) for job in jobs)
    return GapPredictor(problem, subnets, float_ap=float_ap, int8_ap=int8_ap, seed=config.seed)


def _drawn(choices: Sequence[Choice], predict: Callable[[SubnetConfig], LatencyPrediction]) -> tuple[DrawnSubnet, ...]:
    """The chosen subnets, each with the largest under the same cap where it is another."""
    rows = []
    for choice in choices:
        for name, evaluation, ap in (
            ("chosen", choice.best, choice.rescored.ap),
            ("largest", choice.control, choice.control_rescored.ap),
        ):
            if name == "chosen" or evaluation.subnet != choice.best.subnet:
                latency = predict(evaluation.subnet)
                told = f"{evaluation.subnet.resolution} px, {latency}, AP {100 * ap:.1f}"
                title = f"{name} under {choice.cap_ms:g} ms\n{told}"
                rows.append(DrawnSubnet(title=title, subnet=evaluation.subnet, latency=latency))
    return tuple(rows)


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
        "score.gap_subnets": config.score.gap_subnets,
        "latency_model": f"{model.device} {model.precision} {model.runtime}",
        # Another fit of the same name predicts another latency.
        "largest_subnet_ms": problem.costs(problem.space.largest()).latency_ms,
    }
