"""AP against predicted latency of detectors that were scored on the same images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter


@dataclass(frozen=True, kw_only=True)
class ScoredModel:
    """A detector with its AP, a fraction, and its predicted milliseconds."""

    name: str
    ap: float
    latency_ms: float


def front(models: Sequence[ScoredModel]) -> tuple[ScoredModel, ...]:
    """Those that no other beats, by ascending latency: none is as fast and better, or faster and as good."""
    found: list[ScoredModel] = []
    for model in sorted(models, key=lambda each: (each.latency_ms, -each.ap)):
        if not found or model.ap > found[-1].ap:
            found.append(model)
    return tuple(found)


def front_plot(models: Sequence[ScoredModel], *, device: str) -> bytes:
    """A PNG.

    Args:
        models: at least one.
        device: whose latency was predicted.
    """
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")  # Without pyplot, which looks for a display.
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    best = front(models)
    axes.plot([m.latency_ms for m in best], [m.ap for m in best], drawstyle="steps-post", color="C0", label="front")
    for number, model in enumerate(models):
        axes.scatter(model.latency_ms, model.ap, color=f"C{number % 10}", label=model.name, zorder=3)
    axes.set_xlabel(f"predicted latency on {device}, ms")
    axes.set_ylabel("AP, percent")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=""))
    axes.grid(visible=True, alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
