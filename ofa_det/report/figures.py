"""Curves of trainings and searches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape

from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.report.charts import Series, chart
from ofa_det.report.html import columns
from ofa_det.report.sources import Curves, DetectorSources

_TITLES = {"AP_largest": "largest subnet", "AP_smallest": "smallest subnet", "AP": "detector"}


def supernet_figure(curves: Curves) -> str:
    """Loss of a supernet, and AP of its largest, smallest and watched subnets."""
    return training_figure(curves, title="Supernet, AP on the training images that it holds out", colour=None)


def training_figure(curves: Curves, *, title: str, colour: int | None) -> str:
    """Loss and AP of a training."""
    loss = chart(
        [Series(name="", xs=curves.images, ys=curves.losses, colour=colour)],
        x_label=f"images drawn, {curves.images_per_s:.1f} a second",
        y_label="loss",
        title=f"loss: {title}",
        zero="x",
    )
    ranked = [_of_subnet(name, number, curves, colour) for number, name in enumerate(sorted(curves.aps))]
    parts = [loss]
    if ranked:
        parts.append(chart(ranked, x_label="images drawn", y_label="AP, percent", title=f"AP: {title}", zero="xy"))
    return f"<h3>{escape(title)}</h3>{columns(*parts)}"


def search_figure(scored: Sequence[Evaluation], detectors: Sequence[DetectorSources]) -> str:
    """Best AP so far under every cap."""
    series = [
        Series(
            name=f"under {detector.built.latency_cap_ms:g} ms",
            xs=[place for place, _ in best],
            ys=[100 * ap for _, ap in best],
            colour=number,
        )
        for number, detector in enumerate(detectors)
        if (best := _best_so_far(scored, detector.built.latency_cap_ms))
    ]
    drawn = chart(
        series, x_label="subnets scored", y_label="best AP, percent", title="best AP of the search so far", zero="x"
    )
    return f"<h3>Search, AP on held-out training images</h3>{columns(drawn)}"


def _best_so_far(scored: Sequence[Evaluation], cap_ms: float) -> list[tuple[int, float]]:
    """Of the subnets that keep a cap: which it was, from 1, and the best AP until then."""
    kept = [(place, one.ap) for place, one in enumerate(scored, start=1) if one.at_most_ms <= cap_ms]
    aps = itertools.accumulate((ap for _, ap in kept), max)
    return [(place, ap) for (place, _), ap in zip(kept, aps, strict=True)]


def _of_subnet(name: str, number: int, curves: Curves, colour: int | None) -> Series:
    title = _TITLES.get(name, name.replace("AP_", "random subnet "))
    own = colour if name == "AP" else number if name in _TITLES else None
    aps = [100 * ap for ap in curves.aps[name]]
    return Series(name=title, xs=curves.validated, ys=aps, colour=own, mark="both")
