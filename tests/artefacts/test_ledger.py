import logging
import math
from pathlib import Path

import pytest

from ofa_det.artefacts.ledger import Ledger

IDENTITY = {"supernet": "abc", "seed": 0, "resolutions": (192, 224)}
FIRST = {"a": 0.1 + 0.2}
SECOND = {"b": [1, None]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search" / "ledger.jsonl"


def test_entries_come_back_exactly_and_in_order(path: Path) -> None:
    ledger = Ledger.open(path, IDENTITY)
    ledger.append(FIRST)
    ledger.append(SECOND)
    assert ledger.entries == [FIRST, SECOND]
    assert Ledger.open(path, IDENTITY).entries == [FIRST, SECOND]


def test_torn_last_line_is_dropped_wherever_it_was_torn(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger.open(path, IDENTITY)
    ledger.append(FIRST)
    one = path.read_bytes()
    ledger.append(SECOND)
    two = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        for length in range(len(one), len(two)):
            path.write_bytes(two[:length])
            resumed = Ledger.open(path, IDENTITY)
            assert resumed.entries == [FIRST]
            resumed.append(SECOND)
            assert path.read_bytes() == two
    assert len(caplog.records) == len(two) - len(one) - 1


@pytest.mark.parametrize("line", [b"\0\0", b"\xff", b"[1]", b""])
def test_damaged_line_is_an_error_with_its_number(path: Path, line: bytes) -> None:
    ledger = Ledger.open(path, IDENTITY)
    ledger.append(FIRST)
    path.write_bytes(path.read_bytes() + line + b"\n")
    ledger.append(SECOND)
    with pytest.raises(ValueError, match=r"ledger\.jsonl line 3, found .*choose another --output"):
        Ledger.open(path, IDENTITY)


def test_another_identity_is_refused_by_name(path: Path) -> None:
    Ledger.open(path, IDENTITY).append(FIRST)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"expected seed 1 in .*, found 0; choose another --output"):
        Ledger.open(path, {**IDENTITY, "seed": 1})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "header", [b"", b"{}\n", b'{"schema_version": 1, "identity": {}}\n', b'{"schema_version": 2}\n']
)
def test_a_file_of_another_kind_is_refused(path: Path, header: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(header)
    with pytest.raises(ValueError, match=r"expected schema_version 2 in .*; choose another --output"):
        Ledger.open(path, {})


def test_not_a_number_leaves_the_file_as_it_is(path: Path) -> None:
    ledger = Ledger.open(path, IDENTITY)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        ledger.append({"ap": math.nan})
    assert path.read_bytes() == before
    assert ledger.entries == []
