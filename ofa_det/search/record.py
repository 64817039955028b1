"""The scored subnets of one search, on disk as they come, so that a search continues where it was killed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa_det.arch.files import write_atomically
from ofa_det.arch.subnet import SubnetConfig

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is known of one scored subnet.

    Args:
        subnet: the network.
        ap: average precision on the held-out part of the training set, as a fraction.
        latency_ms: predicted latency.
        macs: multiply-accumulates of one image.
        params: trainable parameters.
    """

    subnet: SubnetConfig
    ap: float
    latency_ms: float
    macs: int
    params: int

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types."""
        return {
            "subnet": str(self.subnet),
            "ap": self.ap,
            "latency_ms": self.latency_ms,
            "macs": self.macs,
            "params": self.params,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """Inverse of `to_json`.

        Raises:
            ValueError: keys are missing or of another type.
        """
        try:
            return cls(
                subnet=SubnetConfig.parse(value["subnet"]),
                ap=float(value["ap"]),
                latency_ms=float(value["latency_ms"]),
                macs=int(value["macs"]),
                params=int(value["params"]),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"expected subnet, ap, latency_ms, macs and params, found {value!r:.120}") from error


class EvaluationRecord:
    """An append-only `evaluations.jsonl`: a header with the search's identity, then one line per scored subnet.

    Args:
        path: the file.
        evaluations: those the file holds, in its order.
    """

    def __init__(self, path: Path, evaluations: list[Evaluation]) -> None:
        self._path = path
        self._by_subnet = {evaluation.subnet: evaluation for evaluation in evaluations}

    @classmethod
    def create(cls, path: Path, identity: Mapping[str, Any]) -> EvaluationRecord:
        """Starts a record.

        Args:
            path: the file.
            identity: JSON values that two searches share only if they score every subnet equally.

        Raises:
            ValueError: the file exists.
        """
        if path.exists():
            raise ValueError(f"expected no {path.name} in {path.parent}, found one; pass --resume or another --output")
        write_atomically(path, _line({"schema_version": SCHEMA_VERSION, "identity": dict(identity)}))
        return cls(path, [])

    @classmethod
    def resume(cls, path: Path, identity: Mapping[str, Any]) -> EvaluationRecord:
        """Continues a record; a last line that was torn by a kill is cut off, and a missing file is created.

        Raises:
            ValueError: the file belongs to another search or is damaged.
        """
        if not path.exists():
            return cls.create(path, identity)
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            logger.warning("%s: dropped a torn last line", path)
            with path.open("r+b") as file:
                file.truncate(len(whole))
        lines = whole.splitlines()
        values = [_parse(path, number, line) for number, line in enumerate(lines, start=1)]
        if not values or values[0].get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"expected schema_version {SCHEMA_VERSION} in {path}; choose another --output")
        _check_identity(path, values[0].get("identity"), identity)
        return cls(path, [Evaluation.from_json(value) for value in values[1:]])

    def __len__(self) -> int:
        return len(self._by_subnet)

    def score(self, subnet: SubnetConfig) -> float | None:
        """The recorded AP of a subnet, if any."""
        known = self._by_subnet.get(subnet)
        return None if known is None else known.ap

    def add(self, evaluation: Evaluation) -> None:
        """Appends an evaluation, unless the record holds it.

        Raises:
            ValueError: the record holds another evaluation of this subnet.
        """
        known = self._by_subnet.get(evaluation.subnet)
        if known is not None:
            if known != evaluation:
                raise ValueError(
                    f"expected {known.to_json()} as recorded in {self._path}, found {evaluation.to_json()}; "
                    "choose another --output"
                )
            return
        with self._path.open("ab") as file:
            file.write(_line(evaluation.to_json()).encode())
            file.flush()
            os.fsync(file.fileno())
        self._by_subnet[evaluation.subnet] = evaluation


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, allow_nan=False) + "\n"


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected JSON in {path} line {number}, found {error}; choose another --output") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected an object in {path} line {number}, found {value!r:.80}; choose another --output")
    return value


def _check_identity(path: Path, found: Any, expected: Mapping[str, Any]) -> None:
    found = found if isinstance(found, dict) else {}
    # Compared as the file would hold it, so that tuples equal lists.
    wanted = json.loads(json.dumps(dict(expected)))
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise ValueError(
                f"expected evaluations with {key} {wanted.get(key)!r:.80}, found {found.get(key)!r:.80} in {path}; "
                "choose another --output"
            )
