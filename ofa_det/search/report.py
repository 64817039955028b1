"""The result of a search as files: the best subnet, and accuracy against latency as a table and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ofa_det.artefacts.evaluations import ChosenSubnet, Evaluation
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.records import write_record
from ofa_det.latency.latencies import LatencyPrediction


def best_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The one of the highest AP; of equal ones the fastest, then the first in the order of subnets."""
    if not evaluations:
        raise ValueError("expected at least one evaluation, found none")
    return min(evaluations, key=lambda e: e.rank)


def pareto_front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Those that no other one beats in AP without being slower, by ascending latency; of equal ones one."""
    front: list[Evaluation] = []
    for evaluation in sorted(evaluations, key=lambda e: (e.latency_ms, -e.ap, e.subnet)):
        if not front or evaluation.ap > front[-1].ap:
            front.append(evaluation)
    return front


def write_report(
    folder: Path, evaluations: Sequence[Evaluation], prediction: LatencyPrediction, latency_cap_ms: float
) -> Evaluation:
    """Writes `subnet.json`, `pareto.csv` and `pareto.png`; equal evaluations give equal files.

    Args:
        folder: takes the files.
        evaluations: of the search.
        prediction: latency of the best of them.
        latency_cap_ms: of the search.

    Returns:
        The best evaluation, the one in `subnet.json`.
    """
    best = best_evaluation(evaluations)
    chosen = ChosenSubnet(
        subnet=best.subnet,
        ap=best.ap,
        latency_ms=prediction.mean_ms,
        latency_error_ms=prediction.error_ms,
        device=prediction.device,
        runtime=prediction.runtime,
        precision=prediction.precision,
    )
    write_record(folder / "subnet.json", chosen)
    write_atomically(folder / "pareto.csv", _table(evaluations))
    write_atomically(folder / "pareto.png", _plot(evaluations, best, prediction, latency_cap_ms))
    return best


def _table(evaluations: Sequence[Evaluation]) -> str:
    front = {evaluation.subnet for evaluation in pareto_front(evaluations)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["latency_ms", "ap", "macs", "parameters", "non_dominated", "subnet"])
    for e in sorted(evaluations, key=lambda e: (e.latency_ms, -e.ap, e.subnet)):
        writer.writerow([e.latency_ms, e.ap, e.macs, e.parameters, int(e.subnet in front), e.subnet])
    return text.getvalue()


def _plot(evaluations: Sequence[Evaluation], best: Evaluation, prediction: LatencyPrediction, cap_ms: float) -> bytes:
    # A figure of its own canvas: pyplot would keep global state and look for a display.
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    front = pareto_front(evaluations)
    axes.scatter(
        [e.latency_ms for e in evaluations],
        [e.ap for e in evaluations],
        s=14,
        color="0.6",
        label=f"scored subnets ({len(evaluations)})",
    )
    axes.plot([e.latency_ms for e in front], [e.ap for e in front], marker="o", ms=4, color="C0", label="Pareto front")
    axes.errorbar(
        [best.latency_ms],
        [best.ap],
        xerr=prediction.error_ms,
        fmt="*",
        ms=13,
        capsize=4,
        color="C3",
        label=f"best: AP {best.ap:.3f}, {best.latency_ms:.1f} ± {prediction.error_ms:.1f} ms",
    )
    axes.axvline(cap_ms, color="0.2", linestyle="--", label=f"cap {cap_ms:g} ms")
    axes.set_xlabel(f"predicted latency on {prediction.device}, ms ({prediction.precision}, {prediction.runtime})")
    axes.set_ylabel("AP on the held-out training images")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="best", fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
