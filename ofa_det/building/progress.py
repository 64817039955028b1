"""One display over all stages of a build: a line that renews itself on a terminal, lines now and then in a log."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

LOG_EVERY_S = 30.0
TERMINAL_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far a stage is.

    Args:
        done, total: images or subnets.
        text: of them, with the figures that matter.
        left_s: time that the stage needs at its present speed; None where it does not tell its speed.
    """

    done: int
    total: int
    text: str
    left_s: float | None = None


Watch = Callable[[], Reached | None]
"""Reads from a stage's own files how far it is; None while there is nothing to tell."""


class BuildProgress:
    """Tells which stage is at work, how far it is, and how much time is left.

    Args:
        expected_s: of every stage to come, by name, in their order; later knowledge replaces it.
        shown: whether anything is shown.
        stream: where; a terminal gets one line that renews itself.
    """

    def __init__(self, expected_s: Mapping[str, float], *, shown: bool = True, stream: TextIO | None = None) -> None:
        self._expected_s = dict(expected_s)
        self._order = list(expected_s)
        self._shown = shown
        self._stream = sys.stderr if stream is None else stream

    def expect(self, expected_s: Mapping[str, float]) -> None:
        """Replaces what is expected of stages, or adds some at the end."""
        self._order += [name for name in expected_s if name not in self._expected_s]
        self._expected_s |= expected_s

    def tell(self, text: str) -> None:
        """Shows a line of its own."""
        if self._shown:
            tqdm.write(text, file=self._stream)
            self._stream.flush()

    @contextmanager
    def stage(self, name: str, watch: Watch | None = None) -> Iterator[None]:
        """Shows a stage while the block lasts."""
        if name not in self._expected_s:
            self.expect({name: 0.0})
        if not self._shown:
            yield
            return
        started, over = time.monotonic(), threading.Event()
        show = self._renew if self._stream.isatty() else self._log
        reporter = threading.Thread(target=show, args=(name, watch, started, over), daemon=True)
        reporter.start()
        try:
            yield
        finally:
            over.set()
            reporter.join()
        self.tell(f"{self._number(name)} {name} done in {clock(time.monotonic() - started)}")

    def line(self, name: str, reached: Reached | None, elapsed_s: float) -> str:
        """What is shown of a stage."""
        left = time_left(name, reached, elapsed_s, order=self._order, expected_s=self._expected_s)
        what = f": {reached.text}" if reached else ""
        return f"{self._number(name)} {name}{what}; about {clock(left)} left of all"

    def _number(self, name: str) -> str:
        return f"[{self._order.index(name) + 1}/{len(self._order)}]"

    def _log(self, name: str, watch: Watch | None, started: float, over: threading.Event) -> None:
        before = ""
        while True:
            line = self.line(name, watch() if watch else None, time.monotonic() - started)
            if line != before:
                self.tell(line)
            before = line
            if over.wait(LOG_EVERY_S):
                return

    def _renew(self, name: str, watch: Watch | None, started: float, over: threading.Event) -> None:
        with tqdm(file=self._stream, bar_format="{desc}", leave=False, dynamic_ncols=True) as bar:
            while True:
                bar.set_description_str(self.line(name, watch() if watch else None, time.monotonic() - started))
                if over.wait(TERMINAL_EVERY_S):
                    return


def time_left(
    name: str, reached: Reached | None, elapsed_s: float, *, order: list[str], expected_s: Mapping[str, float]
) -> float:
    """Seconds until the end of all stages.

    Args:
        name: of the stage at work.
        reached: how far it is.
        elapsed_s: since it began, or went on.
        order: of all stages.
        expected_s: of each.
    """
    if reached is None:
        own = max(0.0, expected_s[name] - elapsed_s)
    elif reached.left_s is not None:
        own = reached.left_s
    else:
        own = expected_s[name] * (1 - reached.done / reached.total)
    return own + sum(expected_s[later] for later in order[order.index(name) + 1 :])


def clock(seconds: float) -> str:
    """Seconds for reading: `45 s`, `12 min`, `1 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def watch_training(metrics_file: Path, total_images: int) -> Watch:
    """Follows a training by its `metrics.jsonl`."""

    def watch() -> Reached | None:
        figures: dict[str, float] = {}
        for entry in _entries(metrics_file):
            figures |= entry
        if "images" not in figures:
            return None
        shown = [f"loss {figures['loss']:.2f}"] if "loss" in figures else []
        shown += [f"{key} {figures[key]:.3f}" for key in ("AP", "AP_largest") if key in figures]
        shown += [f"{figures['images_per_s']:.1f} images/s"] if "images_per_s" in figures else []
        images, speed = int(figures["images"]), figures.get("images_per_s")
        return Reached(
            done=images,
            total=total_images,
            text=f"{images:,} of {total_images:,} images, {', '.join(shown)}",
            left_s=max(0, total_images - images) / speed if speed else None,
        )

    return watch


def watch_search(evaluations_file: Path, most_subnets: int) -> Watch:
    """Follows a search by its `evaluations.jsonl`."""

    def watch() -> Reached | None:
        aps = [entry["ap"] for entry in _entries(evaluations_file) if "ap" in entry]
        if not aps:
            return None
        return Reached(
            done=len(aps),
            total=most_subnets,
            text=f"{len(aps)} of about {most_subnets} subnets, AP {100 * max(aps):.1f}",
        )

    return watch


def _entries(path: Path) -> Iterator[dict[str, float]]:
    """Objects of a file of JSON lines that is being written; a last line in the making is left out."""
    if not path.is_file():
        return
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield entry
