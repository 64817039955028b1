"""Run folders that nobody named: each run gets the next number instead of an error."""

from __future__ import annotations

import re
from pathlib import Path


def unnamed_output(default: str, *, resume: bool) -> str:
    """The folder of a run whose `--output` was left to us.

    Args:
        default: folder of the first such run; the next are called default-2, default-3 and so on.
        resume: whether the run goes on with the last one.

    Returns:
        The first name that is free; to go on, the last that is taken, or the default where none is.
    """
    taken = _taken(Path(default))
    if resume:
        return _name(default, max(taken, default=1))
    number = max(taken, default=0) + 1
    return _name(default, number)


def _name(default: str, number: int) -> str:
    return default if number == 1 else f"{default}-{number}"


def _taken(default: Path) -> set[int]:
    """Numbers of the folders that hold something; the default's is 1."""
    numbered = re.compile(rf"{re.escape(default.name)}(?:-([1-9][0-9]*))?")
    siblings = default.parent.iterdir() if default.parent.is_dir() else ()
    matches = ((path, numbered.fullmatch(path.name)) for path in siblings)
    return {
        int(match[1] or 1)
        for path, match in matches
        if match is not None and (not path.is_dir() or any(path.iterdir()))
    }
