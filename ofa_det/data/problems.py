"""Faults of a data set that do not stop its use: counted by kind, the first few named."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass

logger = logging.getLogger(__name__)

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Faults of one kind.

    Args:
        source: the file they are in.
        kind: what was found and done.
        count: how many there are.
        first: names of the first few.
    """

    source: str
    kind: str
    count: int
    first: tuple[str, ...]

    @property
    def named(self) -> str:
        """The first few, in words."""
        return ", ".join([*self.first, *["..."] * (self.count > len(self.first))])

    def __str__(self) -> str:
        """One line."""
        return f"{self.source}: {self.count} {self.kind} ({self.named})"


class Problems:
    """Counts faults by kind, and names the first few of each.

    Args:
        source: the file they are found in.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._names: dict[str, list[str]] = defaultdict(list)
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, kind: str, name: str) -> None:
        """Counts one fault of a kind; `kind` says what was found and done, as in 'degenerate boxes skipped'."""
        self._counts[kind] += 1
        if len(self._names[kind]) < _NAMED:
            self._names[kind].append(name)

    def found(self) -> tuple[Problem, ...]:
        """What was counted, in the order in which it was first met."""
        return tuple(
            Problem(source=self._source, kind=kind, count=count, first=tuple(self._names[kind]))
            for kind, count in self._counts.items()
        )

    def warn(self) -> None:
        """Logs one warning for each kind."""
        for problem in self.found():
            logger.warning("%s", problem)
