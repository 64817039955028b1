"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(path: str | os.PathLike[str], content: bytes | str, *, durable: bool = True) -> None:
    """Writes a file so that a reader, or a crash, never meets half of it; makes its folder.

    Args:
        path: the file.
        content: text is written as UTF-8.
        durable: wait until it is on the disk, so that it outlives a power failure; of many small files that can be made
            again, the waiting takes longer than the work.

    Raises:
        OSError: it cannot be written; the message says what to do. An older file is still there, whole.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with told_how_to_mend(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(temporary, content.encode() if isinstance(content, str) else content, durable=durable)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            _sync_folder(path.parent)


@contextmanager
def told_how_to_mend(path: str | os.PathLike[str]) -> Iterator[None]:
    """Makes of what fails in the block an error that says what to do about `path`, whatever file was in the way."""
    try:
        yield
    except OSError as error:
        # A file within may have told it already, by its own name.
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        if (mend := how_to_mend(cause, path)) is None:
            raise
        raise type(error)(mend) from cause


def how_to_mend(error: OSError, path: str | os.PathLike[str] | None = None) -> str | None:
    """What the user can do about a file that cannot be written, on one line; None where the error says it itself.

    Args:
        error: what happened.
        path: the file that was to be written; by default the one that the error names.
    """
    place = os.fsdecode(path or error.filename or "the output")
    if error.errno in _NO_ROOM:
        return (
            f"expected room to write {place}, found {os.strerror(error.errno)}; free some or choose another --output, "
            "then go on: what was finished is still there"
        )
    if error.errno in _NOT_ALLOWED:
        return f"expected to be allowed to use {place}, found {os.strerror(error.errno)}; change that or choose another"
    if path is not None and error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"expected a folder to write {place} into, found a file in its place; choose another --output"
    return None


def _write(path: Path, content: bytes, *, durable: bool) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        if durable:
            # Else a power failure after the renaming could leave the new name with nothing behind it.
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a renaming in it outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some network file systems sync files alone.
            raise
    finally:
        os.close(descriptor)


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


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """Reads the lines of a text file that may come from anywhere.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected text in UTF-8 in {os.fspath(path)}, found other bytes ({error.reason}); save it as UTF-8"
        ) from error


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
    except (ValueError, RecursionError) as error:
        found = _json_fault(error) if content.strip() else "nothing"
        raise ValueError(f"expected JSON in {where}, found {found}; correct it or make it anew") from error


def _json_fault(error: ValueError | RecursionError) -> str:
    """What Python's reader has refused, in words for whoever wrote it."""
    if isinstance(error, json.JSONDecodeError):
        return f"a mistake in line {error.lineno}, column {error.colno} ({error.msg})"
    if isinstance(error, UnicodeDecodeError):
        return f"bytes that are no UTF-8 from byte {error.start} on"
    return "values nested too deeply" if isinstance(error, RecursionError) else "a number of thousands of digits"


def shown(value: Any, most: int = 40) -> str:
    """A value that a file states, for an error: as JSON writes it, cut where it is longer."""
    text = ""
    for part in json.JSONEncoder(default=str, skipkeys=True).iterencode(value):  # Not all of what may be endless.
        text += part
        if len(text) > most:
            return f"{text[:most]}..."
    return text
