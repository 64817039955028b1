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
        left_s: time that the stage needs at the speed that it tells; None where it tells none.
    """

    done: int
    total: int
    text: str
    left_s: float | None = None


Watch = Callable[[], Reached | None]
"""Reads from a stage's own files how far it is; None while there is nothing to tell."""


class Pace:
    """How fast a stage is, by what it has been seen to do.

    What was there at the first look says nothing: it may be of an earlier run, or have waited for a start.
    """

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._last = (0.0, 0)

    def left_s(self, reached: Reached | None, now_s: float) -> float | None:
        """Time that the stage needs at its pace.

        Args:
            reached: how far it is.
            now_s: seconds of any clock that runs on.

        Returns:
            What the stage tells itself before it has been seen to go on; None where it tells nothing.
        """
        if reached is None:
            return None
        if self._first is None:
            self._first = self._last = now_s, reached.done
        elif reached.done > self._last[1]:
            self._last = now_s, reached.done
        (first_s, first), (last_s, last) = self._first, self._last
        if last == first:
            return reached.left_s
        return max(0.0, (reached.total - last) * (last_s - first_s) / (last - first) - (now_s - last_s))


class BuildProgress:
    """Tells which stage is at work, how far it is, and how much time is left.

    Args:
        expected_s: of every stage to come, by name, in their order; later knowledge replaces it.
        budget_s: time that all stages are to take together; None where the stages alone decide.
        shown: whether anything is shown.
        stream: where; a terminal gets one line that renews itself.
    """

    def __init__(
        self,
        expected_s: Mapping[str, float],
        *,
        budget_s: float | None = None,
        shown: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self._expected_s = dict(expected_s)
        self._took_s: dict[str, float] = {}
        self._spent_s = 0.0
        self._budget_s = budget_s
        self._listed = self._planned = False
        self._shown = shown
        self._stream = sys.stderr if stream is None else stream

    def plan(self, expected_s: Mapping[str, float], *, whole: bool) -> None:
        """Says what is expected of stages, those that were unknown behind the others.

        Args:
            expected_s: by name, in their order.
            whole: whether the length of every stage is known now; until then they share what is left of the budget.
        """
        self._expected_s |= expected_s
        self._listed, self._planned = True, whole

    def leave_out(self, name: str) -> None:
        """Says that a stage will not be."""
        del self._expected_s[name]

    def finished(self, name: str, seconds: float, *, whole: bool) -> None:
        """Says what a stage took; if that is the whole of it, those of its kind that are to come are judged by it."""
        self._spent_s += seconds
        if whole:
            self._took_s[name] = seconds

    def tell(self, text: str) -> None:
        """Shows a line of its own."""
        if self._shown:
            tqdm.write(text, file=self._stream)
            self._stream.flush()

    @contextmanager
    def stage(self, name: str, watch: Watch | None = None) -> Iterator[None]:
        """Shows a stage while the block lasts."""
        self._expected_s.setdefault(name, 0.0)
        if not self._shown:
            yield
            return
        started, over = time.monotonic(), threading.Event()
        show = self._renew if self._stream.isatty() else self._log
        reporter = threading.Thread(target=show, args=(self._lines(name, watch), over), daemon=True)
        reporter.start()
        try:
            yield
        finally:
            over.set()
            reporter.join()
        self.tell(f"{self._number(name)} {name} done in {clock(time.monotonic() - started)}")

    def left_s(self, name: str, own_s: float | None, elapsed_s: float) -> float | None:
        """Seconds until the end of all stages; None while neither a budget nor a plan says.

        Args:
            name: of the stage at work.
            own_s: what it needs itself, by its pace; None where that is not known.
            elapsed_s: since it began, or went on.
        """
        expected_s = corrected(self._expected_s, self._took_s)
        order = list(expected_s)
        own = max(0.0, expected_s[name] - elapsed_s) if own_s is None else own_s
        known = own + sum(expected_s[later] for later in order[order.index(name) + 1 :])
        if self._planned:
            return known
        return None if self._budget_s is None else max(known, self._budget_s - self._spent_s - elapsed_s)

    def _lines(self, name: str, watch: Watch | None) -> Iterator[str]:
        """What is shown of a stage, as it is whenever the next is asked for."""
        started, pace = time.monotonic(), Pace()
        while True:
            now, reached = time.monotonic(), watch() if watch else None
            waits = watch is not None and reached is None
            left = self.left_s(name, pace.left_s(reached, now), 0.0 if waits else now - started)
            what = f": {reached.text}" if reached else ": nothing measured yet" if waits else ""
            until = "" if left is None else f"; about {clock(left)} left of all"
            yield f"{self._number(name)} {name}{what}{until}"

    def _number(self, name: str) -> str:
        order = list(self._expected_s)
        return f"[{order.index(name) + 1}{f'/{len(order)}' if self._listed else ''}]"

    def _log(self, lines: Iterator[str], over: threading.Event) -> None:
        before = ""
        while True:
            line = next(lines)
            if line != before:
                self.tell(line)
            before = line
            if over.wait(LOG_EVERY_S):
                return

    def _renew(self, lines: Iterator[str], over: threading.Event) -> None:
        with tqdm(file=self._stream, bar_format="{desc}", leave=False, dynamic_ncols=True) as bar:
            while True:
                bar.set_description_str(next(lines))
                if over.wait(TERMINAL_EVERY_S):
                    return


def corrected(expected_s: Mapping[str, float], took_s: Mapping[str, float]) -> dict[str, float]:
    """What stages are expected to take after finished ones of their kind took more or less than was expected of them.

    Args:
        expected_s: of every stage, by name.
        took_s: of the finished ones.
    """
    ratios: dict[str, float] = {}
    for name, seconds in took_s.items():
        if expected_s.get(name, 0.0) > 0:
            ratios[_kind(name)] = seconds / expected_s[name]
    return {name: seconds * ratios.get(_kind(name), 1.0) for name, seconds in expected_s.items()}


def _kind(stage: str) -> str:
    """Of the same kind are the stages that differ in their cap alone, and all trainings."""
    return "detector" if stage == "supernet" else stage.rpartition("_")[0] or stage


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


def watch_labels(folder: Path, total: int) -> Watch:
    """Follows a labelling by the parts that it leaves: boxes, feature maps, boxes of whole images for the report."""

    def watch() -> Reached | None:
        done = sum(1 for _ in folder.glob("*/*.safetensors"))
        return Reached(done=done, total=total, text=f"{done} of {total} parts") if done else None

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
