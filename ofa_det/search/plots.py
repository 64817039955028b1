"""Pictures of a search: its front, how it got there, and how well its predictor fits."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.latency.latencies import LatencyPrediction
from ofa_det.search.baselines import LARGEST, NEAREST, SMALLEST, UNIFORM
from ofa_det.search.choice import Choice, Rescored

_PERCENT = PercentFormatter(xmax=1, symbol="")
_MARKERS = {
    SMALLEST: "v",
    LARGEST: "^",
    UNIFORM: "s",
    NEAREST.format(name="MobileNetV3-Large"): "P",
    NEAREST.format(name="MobileNetV3-Small"): "X",
}


@dataclass(frozen=True, kw_only=True)
class PredictorFit:
    """AP as it was predicted before it was measured.

    Args:
        predicted, measured: of the same subnets, in the order they were measured.
    """

    predicted: tuple[float, ...]
    measured: tuple[float, ...]


def front_plot(
    evaluations: Sequence[Evaluation],
    front: Sequence[Evaluation],
    choices: Sequence[Choice],
    latencies: Sequence[LatencyPrediction],
    *,
    roles: Mapping[SubnetConfig, str],
    rescored: Mapping[SubnetConfig, Rescored],
    scored_as: str,
) -> bytes:
    """AP against predicted latency as a PNG.

    Args:
        evaluations: all scored subnets.
        front: those that no other beats, by ascending latency.
        choices: one for each cap.
        latencies: predictions for the chosen.
        roles: what a baseline is.
        rescored: AP with errors of those that were scored again.
        scored_as: what the AP is that of, in words.
    """
    figure, axes = _figure()
    others = [e for e in evaluations if e.subnet not in roles]
    _dots(axes, others, marker="o", size=14, colour="0.65", label=f"scored subnets ({len(others)})")
    axes.plot(
        [e.latency_ms for e in front], [e.ap for e in front], drawstyle="steps-post", color="C0", label="Pareto front"
    )
    for role, marker in _MARKERS.items():
        named = [e for e in evaluations if roles.get(e.subnet) == role]
        if named:
            _dots(axes, named, marker=marker, size=45, colour="C2", label=role)
    controls = list({choice.control.subnet: choice.control for choice in choices}.values())
    _dots(axes, controls, marker="D", size=45, colour="C1", label="largest under a cap")
    again = [(e, rescored[e.subnet]) for e in evaluations if e.subnet in rescored]
    axes.errorbar(
        [e.latency_ms for e, _ in again],
        [r.ap for _, r in again],
        yerr=[r.error for _, r in again],
        fmt="_",
        ms=7,
        capsize=2,
        lw=0.8,
        color="C4",
        label="scored again, ± standard error",
    )
    for choice, latency in zip(choices, latencies, strict=True):
        sure = choice.rescored
        axes.errorbar(
            [latency.mean_ms],
            [sure.ap],
            xerr=latency.error_ms,
            yerr=sure.error,
            fmt="*",
            ms=14,
            capsize=4,
            color="C3",
            label=f"chosen under {choice.cap_ms:g} ms: AP {100 * sure.ap:.1f} ± {100 * sure.error:.1f}, "
            f"{latency.mean_ms:.1f} ± {latency.error_ms:.1f} ms"
            f"{' (not told apart from the largest)' if choice.within_noise else ''}",
        )
        axes.axvline(choice.cap_ms, color="0.2", linestyle="--", lw=1)
        axes.text(
            choice.cap_ms, 1.0, f" {choice.cap_ms:g} ms", transform=axes.get_xaxis_transform(), va="bottom", size=9
        )
    first = latencies[0]
    axes.set_xlabel(f"predicted latency on {first.device}, ms ({first.precision}, {first.runtime})")
    axes.set_ylabel(f"AP ({scored_as}) on held-out training images, percent")
    axes.yaxis.set_major_formatter(_PERCENT)
    return _png(figure, axes, columns=2)


def curve_plot(evaluations: Sequence[Evaluation], choices: Sequence[Choice]) -> bytes:
    """Best AP so far under each cap against the number of measured subnets, as a PNG.

    Args:
        evaluations: what the strategy asked for, in order.
        choices: one for each cap, with its control.
    """
    figure, axes = _figure()
    counts = np.arange(1, len(evaluations) + 1)
    for index, choice in enumerate(choices):
        ap = [e.ap if e.at_most_ms <= choice.cap_ms else np.nan for e in evaluations]
        colour = f"C{index}"
        if len(counts):
            best = np.fmax.accumulate(np.array(ap))
            axes.plot(counts, best, drawstyle="steps-post", color=colour, label=f"best under {choice.cap_ms:g} ms")
        axes.axhline(
            choice.control.ap,
            color=colour,
            linestyle=":",
            label=f"largest under {choice.cap_ms:g} ms, unsearched",
        )
    axes.set_xlabel("subnets measured by the strategy")
    axes.set_ylabel("best AP so far in the search, percent")
    axes.yaxis.set_major_formatter(_PERCENT)
    return _png(figure, axes)


def fit_plot(fit: PredictorFit, *, of: str = "AP", when: str = "before it was measured") -> bytes:
    """What was predicted against what was measured, as a PNG.

    Args:
        fit: both.
        of: what it is.
        when: it was predicted.
    """
    figure, axes = _figure()
    points = axes.scatter(fit.predicted, fit.measured, s=20, c=np.arange(len(fit.predicted)), cmap="viridis")
    ends = [min(*fit.predicted, *fit.measured), max(*fit.predicted, *fit.measured)]
    axes.plot(ends, ends, color="0.5", linestyle="--", label="predicted = measured")
    error = float(np.sqrt(np.mean(np.square(np.subtract(fit.predicted, fit.measured)))))
    axes.set_title(f"{len(fit.predicted)} subnets, root mean square error {100 * error:.2f} points", size=10)
    axes.set_xlabel(f"{of}, predicted {when}, percent")
    axes.set_ylabel(f"{of}, measured, percent")
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.yaxis.set_major_formatter(_PERCENT)
    figure.colorbar(points, label="order of measuring")
    return _png(figure, axes)


def _figure() -> tuple[Figure, Axes]:
    # A figure of its own canvas: pyplot would keep global state and look for a display.
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _dots(axes: Axes, evaluations: Sequence[Evaluation], *, marker: str, size: float, colour: str, label: str) -> None:
    latencies, aps = [e.latency_ms for e in evaluations], [e.ap for e in evaluations]
    axes.scatter(latencies, aps, s=size, marker=marker, color=colour, label=label, zorder=3 if size > 20 else 2)


def _png(figure: Figure, axes: Axes, columns: int = 1) -> bytes:
    axes.grid(visible=True, alpha=0.3)
    if columns > 1:
        figure.legend(loc="outside lower center", ncols=columns, fontsize=8)
    else:
        axes.legend(loc="best", fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
