"""Append-only files: a header with an identity, then one JSON object a line, each there as soon as it is known."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.records import check_identity, to_plain

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2


class Ledger:
    """Entries on disk.

    Args:
        path: the file.
        entries: those the file holds, in its order.
    """

    def __init__(self, path: Path, entries: list[dict[str, Any]]) -> None:
        self.path = path
        self.entries = entries

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, Any]) -> Ledger:
        """Starts a file, or goes on with one; a last line that was torn by a kill is cut off.

        Args:
            path: the file.
            identity: JSON values that decide what its entries mean.

        Raises:
            ValueError: the file has another identity or is damaged.
        """
        if not path.exists():
            write_atomically(path, _line({"schema_version": SCHEMA_VERSION, "identity": to_plain(identity)}))
            return cls(path, [])
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            logger.warning("%s: dropped a torn last line", path)
            with path.open("r+b") as file:
                file.truncate(len(whole))
        header, *entries = [_parse(path, number, line) for number, line in enumerate(whole.splitlines(), 1)] or [{}]
        if header.get("schema_version") != SCHEMA_VERSION or not isinstance(header.get("identity"), dict):
            raise ValueError(f"expected schema_version {SCHEMA_VERSION} in {path}; choose another --output")
        check_identity(header["identity"], identity, where=os.fspath(path), mend="choose another --output")
        return cls(path, entries)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Writes an entry through to the disk."""
        with self.path.open("ab") as file:
            file.write(_line(entry).encode())
            file.flush()
            os.fsync(file.fileno())
        self.entries.append(dict(entry))


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), allow_nan=False) + "\n"


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected JSON in {path} line {number}, found {error}; choose another --output") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected an object in {path} line {number}, found {value!r:.80}; choose another --output")
    return value
