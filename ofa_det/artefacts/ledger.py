"""Append-only files: a header with an identity, then one JSON object a line, each there as soon as it is known."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ofa_det.artefacts.records import check_identity, to_plain

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2


class Ledger:
    """Entries on disk. Several processes may append to one file; each knows what was there when it opened it.

    Args:
        path: the file.
        entries: those the file holds, in its order.
    """

    def __init__(self, path: Path, entries: list[dict[str, Any]]) -> None:
        self.path = path
        self.entries = entries

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, Any], *, mend: str = "choose another --output") -> Ledger:
        """Starts a file, or goes on with one; a last line that was torn by a kill does not count.

        Args:
            path: the file.
            identity: JSON values that decide what its entries mean.
            mend: what the user can do about a file that does not serve.

        Raises:
            ValueError: the file has another identity or is damaged.
        """
        first = _line({"schema_version": SCHEMA_VERSION, "identity": to_plain(identity)})
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path) as file:
            content = file.read()
            if first.startswith(content):  # A new file, or one that was begun and not more.
                file.truncate(0)
                _write(file, first)
                return cls(path, [])
        lines = _whole(content).splitlines()
        header, *entries = [_parse(path, number, line, mend) for number, line in enumerate(lines, 1)] or [{}]
        if header.get("schema_version") != SCHEMA_VERSION or not isinstance(header.get("identity"), dict):
            raise ValueError(f"expected schema_version {SCHEMA_VERSION} in {path}, found another file; {mend}")
        check_identity(header["identity"], identity, where=os.fspath(path), mend=mend)
        return cls(path, entries)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Writes an entry through to the disk."""
        line = _line(entry)
        with _locked(self.path) as file:
            content = file.read()
            if len(whole := _whole(content)) < len(content):
                logger.warning("%s: dropped a torn last line", self.path)
                file.truncate(len(whole))
            _write(file, line)
        self.entries.append(dict(entry))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, made if there is none, for this process alone."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # Until the file is closed.
        file.seek(0)
        yield file


def _whole(content: bytes) -> bytes:
    """Without the line that a kill left half written."""
    return content[: content.rfind(b"\n") + 1]


def _write(file: BinaryIO, line: bytes) -> None:
    file.write(line)
    file.flush()
    os.fsync(file.fileno())


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(value), allow_nan=False).encode() + b"\n"


def _parse(path: Path, number: int, line: bytes, mend: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected JSON in {path} line {number}, found {error}; {mend}") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected an object in {path} line {number}, found {value!r:.80}; {mend}")
    return value
