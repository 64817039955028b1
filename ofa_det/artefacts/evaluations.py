"""Scored subnets: what a search tells of each, and the measured AP that any search of the same supernet can use."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.records import from_plain, read_record, to_plain

logger = logging.getLogger(__name__)

ValueT = TypeVar("ValueT")

EVALUATIONS_FILE = "evaluations.jsonl"
MEASURED_FOLDER = "measured_ap"
SUBNET_FILE = "subnet.json"


def subnet_file(cap_ms: float, caps: int) -> str:
    """Name of the file of a chosen subnet: `subnet.json`, or with a cap of several `subnet_40ms.json`."""
    return SUBNET_FILE if caps == 1 else f"subnet_{cap_ms:g}ms.json"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is known of one scored subnet.

    Args:
        subnet: the network.
        ap: average precision on the held-out part of the training set, as a fraction.
        latency_ms: predicted latency.
        at_most_ms: the latency that a cap is compared with: the predicted one and so many standard errors.
        macs: multiply-accumulates of one image.
        parameters: of the file.
        file_bytes: predicted size of the int8 file.
    """

    subnet: SubnetConfig
    ap: float
    latency_ms: float
    at_most_ms: float
    macs: int
    parameters: int
    file_bytes: int

    @property
    def rank(self) -> tuple[float, float, SubnetConfig]:
        """Sorts the best first; a total order, so that ties do not depend on the order of discovery."""
        return -self.ap, self.latency_ms, self.subnet

    def to_entry(self) -> dict[str, Any]:
        """One line of `evaluations.jsonl`."""
        return {**to_plain(self), "subnet": str(self.subnet)}

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any], *, where: str) -> Evaluation:
        """Inverse of `to_entry`.

        Raises:
            ValueError: keys that are missing, unknown or of another type.
        """
        return from_plain(cls, {**entry, "subnet": to_plain(_parse_subnet(entry, where))}, where=where)


class EvaluationLog:
    """`evaluations.jsonl` of one search.

    Args:
        ledger: the file.

    Raises:
        ValueError: an entry is no evaluation.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        found = (Evaluation.from_entry(entry, where=str(ledger.path)) for entry in ledger.entries)
        self._by_subnet = {evaluation.subnet: evaluation for evaluation in found}

    def __len__(self) -> int:
        return len(self._by_subnet)

    def get(self, subnet: SubnetConfig) -> Evaluation | None:
        """The evaluation of a subnet, if the file holds it."""
        return self._by_subnet.get(subnet)

    def add(self, evaluation: Evaluation) -> None:
        """Appends an evaluation, unless the file holds it.

        Raises:
            ValueError: the file holds another evaluation of this subnet.
        """
        known = self._by_subnet.get(evaluation.subnet)
        if known is None:
            self._ledger.append(evaluation.to_entry())
            self._by_subnet[evaluation.subnet] = evaluation
        elif known != evaluation:
            raise ValueError(
                f"expected {known.to_entry()} as recorded in {self._ledger.path}, found {evaluation.to_entry()}; "
                "choose another --output"
            )


class _Measured(Generic[ValueT]):
    """Measurements by subnet, for all searches that would measure the same.

    Where the folder cannot be written, a warning says so, and nothing outlives this process.

    Args:
        folder: takes a file for each identity.
        identity: everything that a measurement depends on but the subnet.
        key: of the measurement in the file.
        kind: of the measurement.

    Raises:
        ValueError: an entry is no measurement.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, key: str, kind: type[ValueT]) -> None:
        digest = hashlib.sha256(json.dumps(to_plain(identity), sort_keys=True).encode()).hexdigest()
        path = folder / f"{digest[:16]}.jsonl"
        self._key = key
        self._ledger: Ledger | None = None
        try:
            self._ledger = Ledger.open(path, identity, mend="delete it")
        except OSError as error:
            self._forgo(error)
        self._found: dict[str, ValueT] = {}
        for entry in self._ledger.entries if self._ledger else ():
            try:
                self._found[str(_parse_subnet(entry, str(path)))] = from_plain(kind, entry.get(key), where=str(path))
            except ValueError as error:
                raise ValueError(f"{error}; delete it") from error

    def __len__(self) -> int:
        return len(self._found)

    def get(self, subnet: SubnetConfig) -> ValueT | None:
        """What was measured of a subnet, if it was."""
        return self._found.get(str(subnet))

    def add(self, subnet: SubnetConfig, value: ValueT) -> None:
        """Keeps a measurement."""
        self._found[str(subnet)] = value
        if self._ledger is not None:
            try:
                self._ledger.append({"subnet": str(subnet), self._key: value})
            except OSError as error:
                self._forgo(error)

    def _forgo(self, error: OSError) -> None:
        logger.warning("measured AP is not kept for other searches: %s", error)
        self._ledger = None


class MeasuredAp(_Measured[float]):
    """AP by subnet; see `_Measured`."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        super().__init__(folder, identity, key="ap", kind=float)


class ResampledAp(_Measured[tuple[float, ...]]):
    """AP by subnet on the images as they are, then on draws of them; see `_Measured`."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        super().__init__(folder, identity, key="resampled_ap", kind=tuple[float, ...])


@dataclass(frozen=True, kw_only=True)
class ChosenSubnet:
    """`subnet.json`: the result of a search.

    Args:
        subnet: the network.
        ap: on held-out training images, with the supernet's weights, as a fraction.
        latency_ms, latency_error_ms: predicted latency and its standard error.
        device, runtime, precision: what it is the latency of.
        ap_error: one standard error of `ap`.
        cap_ms: the cap that it was chosen under.
        at_most_ms: what the cap was compared with.
        rests_on: what the error of the latency rests on, in words.
        within_noise: whether its AP is within the noise of that of the largest subnet under the cap.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    subnet: SubnetConfig
    ap: float | None = None
    latency_ms: float | None = None
    latency_error_ms: float | None = None
    device: str | None = None
    runtime: str | None = None
    precision: str | None = None
    ap_error: float | None = None
    cap_ms: float | None = None
    at_most_ms: float | None = None
    rests_on: str | None = None
    within_noise: bool | None = None


def _parse_subnet(entry: Mapping[str, Any], where: str) -> SubnetConfig:
    try:
        return SubnetConfig.parse(str(entry.get("subnet", "")))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def read_subnet(text: str) -> SubnetConfig:
    """A subnet from a `subnet.json`, or written out as `SubnetConfig.parse` takes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a subnet.
    """
    if Path(text).suffix != ".json":
        return SubnetConfig.parse(text)
    if not Path(text).is_file():
        raise FileNotFoundError(f"expected a subnet.json, found nothing at {text}; search one with search_det")
    return read_record(text, ChosenSubnet).subnet
