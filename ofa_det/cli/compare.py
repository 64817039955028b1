"""Compares two detectors on one data set."""

from __future__ import annotations

from collections.abc import Iterator

from ofa_det.artefacts.records import record_content
from ofa_det.cli.command import Printed, command
from ofa_det.evaluation.compare import CompareConfig, Compared, Comparison, compare
from ofa_det.evaluation.front_plot import front
from ofa_det.evaluation.metrics import NAMES, percent
from ofa_det.evaluation.resampling import Interval

_MOST_CLASSES = 15
"""Classes that the table shows; it is for the eye, and the file has them all."""


def run(config: CompareConfig) -> Printed:
    """Compares; gives a table."""
    comparison = compare(config)
    lines = [*_lines(comparison), f"written to {config.output}"]
    return Printed(text="\n".join(lines), values={"output": config.output, **record_content(comparison)})


def _lines(comparison: Comparison) -> Iterator[str]:
    first, second = comparison.first, comparison.second
    yield f"first:  {first.model}"
    yield f"second: {second.model}"
    yield (
        f"{comparison.images} {comparison.split} images of {comparison.data_root}; AP in percent; [ ]: "
        f"{100 * comparison.confidence:g} % of {comparison.resamples} resamples of the images"
    )
    shown = sorted(comparison.classes, key=lambda entry: -abs(entry.difference.difference or 0))[:_MOST_CLASSES]
    width = max(len("predicted ms"), *(len(entry.name) for entry in shown))
    yield f"{'':{width}}   first  second  second - first"
    for name in NAMES:
        values = [getattr(side.metrics, name) for side in (first, second)]
        change = "" if None in values else _signed(values[1] - values[0]).rjust(16)
        interval = _interval(comparison.ap_difference) if name == "AP" else ""
        yield f"{name:{width}}{percent(values[0]):>8}{percent(values[1]):>8}{change}{interval}"
    yield "classes, those that differ most first:"
    for entry in shown:
        change = "" if entry.difference.difference is None else _signed(entry.difference.difference).rjust(16)
        yield (
            f"{entry.name:{width}}{percent(entry.first):>8}{percent(entry.second):>8}{change}"
            f"{_interval(entry.difference)}"
        )
    if len(comparison.classes) > len(shown):
        yield f"{len(comparison.classes) - len(shown)} more classes"
    yield f"{'size, MB':{width}}{first.size_bytes / 1e6:8.2f}{second.size_bytes / 1e6:8.2f}"
    yield f"{'predicted ms':{width}}{_ms(first):>8}{_ms(second):>8}{_device(first, second)}"
    if comparison.beside:
        best = {model.name for model in front(comparison.scored)}
        yield "by latency, * no other is as fast and better (front.png):"
        for model in sorted(comparison.scored, key=lambda each: each.latency_ms):
            mark = "*" if model.name in best else " "
            yield f"{mark}{model.latency_ms:8.1f} ms  AP{percent(model.ap):>6}  {model.name}"
    yield (
        f"paired test: p = {comparison.p_value:.3g}, the share of {comparison.permutations} permutations of the images "
        "whose AP differs as much"
    )


def _signed(fraction: float) -> str:
    """In percent, without a zero that is less than nothing."""
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"


def _interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"  [{_signed(interval.low)}, {_signed(interval.high)}]"


def _ms(side: Compared) -> str:
    return "-" if side.latency is None else f"{side.latency.mean_ms:.1f}"


def _device(*sides: Compared) -> str:
    """What the latencies are of; a cell each where they are of different things."""
    known = [side.latency for side in sides if side.latency is not None]
    texts = dict.fromkeys(
        f"{found.device}, {found.precision}, {found.runtime}, {found.threads} thread{'s' if found.threads > 1 else ''}"
        for found in known
    )
    errors = " and ".join(f"± {found.error_ms:.1f}" for found in known)
    return f"  {errors} ms on {'; '.join(texts)}" if known else "  of no kind that can be predicted"


main = command(
    "compare",
    "Compare two detectors on one data set.",
    CompareConfig,
    run,
    paths={"FIRST": "--first", "SECOND": "--second"},
)
