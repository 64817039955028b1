"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import json
import os
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(temporary, content.encode() if isinstance(content, str) else content, durable=durable)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        if (mend := how_to_mend(error, path)) is None:
            raise
        raise type(error)(mend) from error


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
        raise ValueError(f"expected text in UTF-8 in {os.fspath(path)}, found {error.reason}") from error


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
