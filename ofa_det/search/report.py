"""The result of a search as files: the best subnet, and accuracy against latency as a table and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ofa_det.arch.files import write_atomically, write_json
from ofa_det.search.record import Evaluation


@dataclass(frozen=True, kw_only=True)
class LatencyTerms:
    """What the latencies of a search mean.

    Args:
        cap_ms: the cap.
        error_ms: plus-minus of the best subnet's prediction.
        device: the device predicted.
        runtime: the runtime predicted, since it matters more than the model's error.
        precision: `float32` or `uint8`.
    """

    cap_ms: float
    error_ms: float
    device: str
    runtime: str
    precision: str


def best_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The one of the highest AP; of equal ones the fastest, then the first in the order of subnets."""
    if not evaluations:
        raise ValueError("expected at least one evaluation, found none")
    return min(evaluations, key=lambda e: (-e.ap, e.latency_ms, e.subnet))


def pareto_front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Those that no other one beats in AP without being slower, by ascending latency; of equal ones one."""
    front: list[Evaluation] = []
    for evaluation in sorted(evaluations, key=lambda e: (e.latency_ms, -e.ap, e.subnet)):
        if not front or evaluation.ap > front[-1].ap:
            front.append(evaluation)
    return front


def write_report(folder: Path, evaluations: Sequence[Evaluation], terms: LatencyTerms) -> Evaluation:
    """Writes `subnet.json`, `pareto.csv` and `pareto.png`; equal evaluations give equal files.

    Returns:
        The best evaluation, the one in `subnet.json`.
    """
    best = best_evaluation(evaluations)
    write_json(
        folder / "subnet.json",
        {
            **best.subnet.to_json(),
            "ap": best.ap,
            "latency_ms": best.latency_ms,
            "latency_error_ms": terms.error_ms,
            "runtime": terms.runtime,
            "precision": terms.precision,
        },
    )
    write_atomically(folder / "pareto.csv", _table(evaluations))
    write_atomically(folder / "pareto.png", _plot(evaluations, best, terms))
    return best


def _table(evaluations: Sequence[Evaluation]) -> str:
    front = {evaluation.subnet for evaluation in pareto_front(evaluations)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["latency_ms", "ap", "macs", "params", "non_dominated", "subnet"])
    for e in sorted(evaluations, key=lambda e: (e.latency_ms, -e.ap, e.subnet)):
        writer.writerow([e.latency_ms, e.ap, e.macs, e.params, int(e.subnet in front), e.subnet])
    return text.getvalue()


def _plot(evaluations: Sequence[Evaluation], best: Evaluation, terms: LatencyTerms) -> bytes:
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
        xerr=terms.error_ms,
        fmt="*",
        ms=13,
        capsize=4,
        color="C3",
        label=f"best: AP {best.ap:.3f}, {best.latency_ms:.1f} ± {terms.error_ms:.1f} ms",
    )
    axes.axvline(terms.cap_ms, color="0.2", linestyle="--", label=f"cap {terms.cap_ms:g} ms")
    axes.set_xlabel(f"predicted latency on {terms.device}, ms ({terms.precision}, {terms.runtime})")
    axes.set_ylabel("AP on the held-out training images")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="best", fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
