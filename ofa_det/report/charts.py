"""Charts as SVG: sharp on a phone and on paper, and styled by the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 20, 10, 50
_TICKS = 5


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of a chart.

    Args:
        name: in the legend; none if empty.
        xs, ys: of the points.
        colour: number of the page's colour, from 0; None is grey.
        mark: a line, dots, or dots that a line joins.
        x_errors, y_errors: half lengths of error bars; none if empty.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int | None = 0
    mark: Literal["line", "dots", "both"] = "line"
    x_errors: Sequence[float] = ()
    y_errors: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A dashed vertical line with a name."""

    x: float
    name: str


def chart(
    series: Sequence[Series], *, x_label: str, y_label: str, title: str, markers: Sequence[Marker] = (), zero: str = ""
) -> str:
    """Draws a chart.

    Args:
        series: drawn in their order.
        x_label: of the axis.
        y_label: of the axis.
        title: what it shows, for those who cannot see it.
        markers: vertical lines.
        zero: the axes that begin at 0: x, y or xy.

    Returns:
        An SVG element and its legend.

    Raises:
        ValueError: nothing to draw.
    """
    xs = [x + sign * error for one in series for x, error in _with(one.xs, one.x_errors) for sign in (-1, 1)]
    ys = [y + sign * error for one in series for y, error in _with(one.ys, one.y_errors) for sign in (-1, 1)]
    if not xs:
        raise ValueError("expected points to draw, found none")
    x_axis = _Axis.over(
        [*xs, *(marker.x for marker in markers), *([0.0] if "x" in zero else [])], _LEFT, _WIDTH - _RIGHT
    )
    y_axis = _Axis.over([*ys, *([0.0] if "y" in zero else [])], _HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(x_axis, y_axis, x_label, y_label)]
    for marker in markers:
        x = x_axis.at(marker.x)
        parts.append(f'<line class="marker" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        anchor, shift = ("end", -4) if x > _WIDTH * 0.7 else ("start", 4)
        parts.append(
            f'<text x="{x + shift:.1f}" y="{_HEIGHT - _BOTTOM - 6}" text-anchor="{anchor}">{escape(marker.name)}</text>'
        )
    parts += [_drawn(one, x_axis, y_axis) for one in series]
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f'<div class="chart">{svg}{_legend(series)}</div>'


@dataclass(frozen=True)
class _Axis:
    """Values to places along one axis."""

    low: float
    high: float
    ticks: tuple[float, ...]
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = min(values), max(values)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        step = _round_step((high - low) / _TICKS)
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        count = round((high - low) / step)
        return cls(low, high, tuple(low + number * step for number in range(count + 1)), start, end)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _round_step(step: float) -> float:
    """1, 2 or 5 times a power of ten, at least this."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def _frame(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in x_axis.ticks:
        x = x_axis.at(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{_number(tick)}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    centre = (_TOP + bottom) / 2
    parts.append(f'<text transform="translate(15 {centre}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    return "".join(parts)


def _drawn(one: Series, x_axis: _Axis, y_axis: _Axis) -> str:
    places = [(x_axis.at(x), y_axis.at(y)) for x, y in zip(one.xs, one.ys, strict=True)]
    parts = []
    for (_, y), value, error in zip(places, one.xs, one.x_errors or [0.0] * len(places), strict=True):
        if error:
            parts.append(_bar(x_axis.at(value - error), x_axis.at(value + error), y, y))
    for (x, _), value, error in zip(places, one.ys, one.y_errors or [0.0] * len(places), strict=True):
        if error:
            parts.append(_bar(x, x, y_axis.at(value - error), y_axis.at(value + error)))
    if one.mark != "dots" and len(places) > 1:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{points}"/>')
    if one.mark != "line" or len(places) == 1:
        radius = 2.5 if one.colour is None else 4
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for x, y in places]
    return f'<g class="{_class(one)}">{"".join(parts)}</g>'


def _bar(x1: float, x2: float, y1: float, y2: float) -> str:
    """An error bar with its ends."""
    dx, dy = (0, 4) if y1 == y2 else (4, 0)
    ends = "".join(
        f'<line x1="{x - dx:.1f}" x2="{x + dx:.1f}" y1="{y - dy:.1f}" y2="{y + dy:.1f}"/>'
        for x, y in ((x1, y1), (x2, y2))
    )
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>{ends}'


def _legend(series: Sequence[Series]) -> str:
    entries = [f'<span><i class="{_class(one)}"></i>{escape(one.name)}</span>' for one in series if one.name]
    return f'<p class="legend">{"".join(entries)}</p>' if entries else ""


def _class(one: Series) -> str:
    return "cgrey" if one.colour is None else f"c{one.colour % 6}"


def _with(values: Sequence[float], errors: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(values, errors or [0.0] * len(values), strict=True))


def _number(value: float) -> str:
    if abs(value) >= 1_000:
        return f"{value / 1_000:g}k"
    return f"{round(value, 6):g}"
