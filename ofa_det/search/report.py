"""The result of a search as files: chosen subnets, accuracy against latency as a table and plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import ChosenSubnet, Evaluation, subnet_file
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.records import write_record
from ofa_det.latency.latencies import LatencyPrediction
from ofa_det.search.choice import NOISE, Choice, Rescored
from ofa_det.search.drawing import DrawnSubnet, architectures_plot
from ofa_det.search.int8_gap import GapFit
from ofa_det.search.plots import PredictorFit, curve_plot, fit_plot, front_plot

SEARCH_FILE = "search.json"
TABLE_FILE = "pareto.csv"
FRONT_FILE, CURVE_FILE, ARCHITECTURES_FILE = "pareto.png", "search_curve.png", "architectures.png"
FIT_FILE, GAP_FILE = "predictor_fit.png", "int8_gap.png"


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A finished search.

    Args:
        choices: for each cap, ascending.
        latencies: prediction for the best of each choice.
        evaluations: all, in the order they were scored: baselines first, then what the strategy asked for.
        roles: what a baseline is.
        rescored: AP of the most promising on other images.
        holdout_images: that the search scored on.
        rescore_images: that the choice was made on.
        other_images: whether those are other ones.
        safety: standard errors that a cap is kept by.
        strategy: its name.
        scored_as: precision that the choice was made in.
        space: that was searched.
        drawn: rows of the picture of architectures.
        fit: predicted and measured AP, if the strategy predicts.
        gap: what int8 takes, if that was predicted: the AP of the evaluations is then that of int8, as predicted.
    """

    choices: tuple[Choice, ...]
    latencies: tuple[LatencyPrediction, ...]
    evaluations: tuple[Evaluation, ...]
    roles: Mapping[SubnetConfig, str]
    rescored: Mapping[SubnetConfig, Rescored]
    holdout_images: int
    rescore_images: int
    other_images: bool
    safety: float
    strategy: str
    scored_as: str
    space: SearchSpace
    drawn: tuple[DrawnSubnet, ...]
    fit: PredictorFit | None = None
    gap: GapFit | None = None

    @property
    def best(self) -> Evaluation:
        """The chosen subnet; of several caps the largest's."""
        return self.choices[-1].best

    @property
    def latency(self) -> LatencyPrediction:
        """Prediction for `best`."""
        return self.latencies[-1]

    @property
    def extrapolated(self) -> tuple[str, ...]:
        """What of the chosen subnets no timed network backs, with its share of the last that has it."""
        notes = (note for latency in self.latencies for note in latency.extrapolated)
        return tuple({note.split(" (")[0]: note for note in notes}.values())

    def summary(self) -> str:
        """What was found, for reading."""
        lines = []
        for choice, latency in zip(self.choices, self.latencies, strict=True):
            lines += [str(choice.best.subnet), *_told(choice, latency, self)]
        lines += [f"extrapolated: {note}" for note in self.extrapolated]
        lines.append(f"the ± of the latency rests on {self.latency.rests_on}; not counted: {self.latency.excluded}")
        if self.gap is not None:
            lines.append(f"AP in the search is that of int8, predicted: {self.gap}")
        of_strategy = sum(evaluation.subnet not in self.roles for evaluation in self.evaluations)
        lines.append(
            f"{len(self.evaluations)} subnets scored, {of_strategy} of them by {self.strategy}; the choice was made in "
            f"{self.scored_as}{', simulated' if self.scored_as == 'int8' else ''}"
        )
        return "\n".join(lines)


def _told(choice: Choice, latency: LatencyPrediction, result: SearchResult) -> list[str]:
    best, difference = choice.best, choice.difference
    images = f"{result.rescore_images} other" if result.other_images else f"{result.rescore_images}"
    lines = [
        f"  cap {choice.cap_ms:g} ms: {latency} on {latency.device} ({latency.precision}, {latency.runtime}, "
        f"{latency.threads} thread), at most {best.at_most_ms:.1f} ms, {result.safety:g} standard error(s) above",
        f"  AP {100 * choice.rescored.ap:.1f} ± {100 * choice.rescored.error:.1f} on {images} held-out training "
        f"images, {100 * best.ap:.1f} on {result.holdout_images} in the search; {best.macs / 1e6:.0f} M "
        f"multiply-accumulates, {best.file_bytes / 1e6:.2f} MB predicted",
    ]
    if best.at_most_ms > choice.cap_ms:
        lines.append("  it is ABOVE the cap, which the soft objective allows")
    if best.subnet == choice.control.subnet:
        return [*lines, "  it is the largest subnet under the cap: the search found none that is better"]
    verdict = (
        f"within {NOISE:g} standard errors: NOT told apart from it"
        if choice.within_noise
        else f"more than {NOISE:g} standard errors"
    )
    lines.append(
        f"  largest subnet under the cap: AP {100 * choice.control_rescored.ap:.1f} ± "
        f"{100 * choice.control_rescored.error:.1f}, {choice.control.latency_ms:.1f} ms; the choice is "
        f"{100 * difference.ap:+.1f} ± {100 * difference.error:.1f} AP, {verdict}"
    )
    return lines


@dataclass(frozen=True, kw_only=True)
class CapReport:
    """One cap in `search.json`."""

    cap_ms: float
    subnet: str
    search_ap: float
    ap: float
    ap_error: float
    latency_ms: float
    at_most_ms: float
    control: str
    control_ap: float
    control_ap_error: float
    difference: float
    difference_error: float
    within_noise: bool


@dataclass(frozen=True, kw_only=True)
class GapReport:
    """The prediction of what int8 takes in `search.json`; errors are root mean squares with a subnet left out."""

    told: str
    subnets: int
    mean: float
    by_architecture: bool
    error: float
    error_of_mean: float


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """`search.json`: what was chosen, how sure it is, and what the numbers rest on."""

    SCHEMA_VERSION: ClassVar[int] = 1

    strategy: str
    evaluations: int
    baselines: int
    holdout_images: int
    rescore_images: int
    safety: float
    latency_rests_on: str
    extrapolated: tuple[str, ...]
    noise_standard_errors: float
    caps: tuple[CapReport, ...]
    not_counted: str = ""
    scored_as: str = "float32"
    gap: GapReport | None = None


def pareto_front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Those that no other one beats in AP without being slower, by ascending latency; of equal ones one."""
    front: list[Evaluation] = []
    for evaluation in sorted(evaluations, key=lambda e: (e.latency_ms, -e.ap, e.subnet)):
        if not front or evaluation.ap > front[-1].ap:
            front.append(evaluation)
    return front


def write_report(folder: Path, result: SearchResult) -> None:
    """Writes `subnet.json` or one for each cap, `search.json`, `pareto.csv`, and the pictures.

    The pictures are `pareto.png`, `search_curve.png`, `architectures.png`, of a strategy that predicts
    `predictor_fit.png`, and of a search that predicts what int8 takes `int8_gap.png`. Equal results give equal files.
    """
    for choice, latency in zip(result.choices, result.latencies, strict=True):
        chosen = ChosenSubnet(
            subnet=choice.best.subnet,
            ap=choice.rescored.ap,
            latency_ms=latency.mean_ms,
            latency_error_ms=latency.error_ms,
            device=latency.device,
            runtime=latency.runtime,
            precision=latency.precision,
            ap_error=choice.rescored.error,
            cap_ms=choice.cap_ms,
            at_most_ms=choice.best.at_most_ms,
            rests_on=latency.rests_on,
            within_noise=choice.within_noise,
        )
        write_record(folder / subnet_file(choice.cap_ms, len(result.choices)), chosen)
    write_record(folder / SEARCH_FILE, _report(result))
    write_atomically(folder / TABLE_FILE, _table(result))
    front = pareto_front(result.evaluations)
    write_atomically(
        folder / FRONT_FILE,
        front_plot(
            result.evaluations,
            front,
            result.choices,
            result.latencies,
            roles=result.roles,
            rescored=result.rescored,
            scored_as=result.scored_as if result.gap is None else "int8, predicted but where scored again",
        ),
    )
    told = [evaluation for evaluation in result.evaluations if evaluation.subnet not in result.roles]
    write_atomically(folder / CURVE_FILE, curve_plot(told, result.choices))
    write_atomically(folder / ARCHITECTURES_FILE, architectures_plot(result.space, result.drawn))
    if result.fit is not None:
        write_atomically(folder / FIT_FILE, fit_plot(result.fit))
    if result.gap is not None:
        both = PredictorFit(predicted=result.gap.predicted, measured=tuple(result.gap.gaps.tolist()))
        write_atomically(folder / GAP_FILE, fit_plot(both, of="AP of int8 less AP of float", when="when left out"))


def _report(result: SearchResult) -> SearchReport:
    return SearchReport(
        strategy=result.strategy,
        evaluations=len(result.evaluations),
        baselines=len(result.roles),
        holdout_images=result.holdout_images,
        rescore_images=result.rescore_images,
        safety=result.safety,
        latency_rests_on=result.latency.rests_on,
        extrapolated=result.extrapolated,
        noise_standard_errors=NOISE,
        not_counted=result.latency.excluded,
        scored_as=result.scored_as,
        gap=None if result.gap is None else _gap_report(result.gap),
        caps=tuple(
            CapReport(
                cap_ms=choice.cap_ms,
                subnet=str(choice.best.subnet),
                search_ap=choice.best.ap,
                ap=choice.rescored.ap,
                ap_error=choice.rescored.error,
                latency_ms=choice.best.latency_ms,
                at_most_ms=choice.best.at_most_ms,
                control=str(choice.control.subnet),
                control_ap=choice.control_rescored.ap,
                control_ap_error=choice.control_rescored.error,
                difference=choice.difference.ap,
                difference_error=choice.difference.error,
                within_noise=choice.within_noise,
            )
            for choice in result.choices
        ),
    )


def _gap_report(gap: GapFit) -> GapReport:
    return GapReport(
        told=f"AP in the search is that of int8, predicted: {gap}.",
        subnets=len(gap.gaps),
        mean=float(gap.gaps.mean()),
        by_architecture=gap.by_architecture,
        error=gap.error,
        error_of_mean=gap.error_of_mean,
    )


def _table(result: SearchResult) -> str:
    front = {evaluation.subnet for evaluation in pareto_front(result.evaluations)}
    chosen: dict[SubnetConfig, list[str]] = {}
    for choice in result.choices:
        chosen.setdefault(choice.best.subnet, []).append(f"{choice.cap_ms:g}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("latency_ms", "at_most_ms", "ap", "macs", "parameters", "file_bytes")
    more = ("rescored_ap", "rescored_error", "non_dominated", "role", "chosen_under_ms", "subnet")
    writer.writerow([*columns, *more])
    for e in sorted(result.evaluations, key=lambda e: (e.latency_ms, -e.ap, e.subnet)):
        again = result.rescored.get(e.subnet)
        sure = ("", "") if again is None else (again.ap, again.error)
        role, caps = result.roles.get(e.subnet, ""), " ".join(chosen.get(e.subnet, ()))
        values = [getattr(e, column) for column in columns]
        writer.writerow([*values, *sure, int(e.subnet in front), role, caps, e.subnet])
    return text.getvalue()
