"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Writes a file so that a reader, or a crash, never meets half of it; makes its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes indented JSON atomically; not-a-number is refused, since JSON has none."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON.
    """
    return parse_json(Path(path).read_bytes(), where=os.fspath(path))


def parse_json(content: bytes | str, *, where: str) -> Any:
    """Reads JSON that may come from anywhere.

    Args:
        content: the text.
        where: what is read, for the error.

    Raises:
        ValueError: not JSON, numbers of thousands of digits, or values nested deeper than Python can follow.
    """
    try:
        return json.loads(content)
    except ValueError as error:  # Python's own refusal of very long integers is no JSONDecodeError.
        raise ValueError(f"expected JSON in {where}, found {error}") from error
    except RecursionError as error:
        raise ValueError(f"expected JSON in {where}, found values nested too deeply") from error
