import json
import logging
import math
import subprocess
import sys
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
    "header", [b"{}", b"{}\n", b'{"schema_version": 1, "identity": {}}\n', b'{"schema_version": 2}\n']
)
def test_a_file_of_another_kind_is_refused(path: Path, header: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(header)
    with pytest.raises(ValueError, match=r"expected schema_version 2 in .*; choose another --output"):
        Ledger.open(path, {})
    assert path.read_bytes() == header
    with pytest.raises(ValueError, match=r"; delete it$"):
        Ledger.open(path, {}, mend="delete it")


def test_a_file_that_was_only_begun_is_begun_anew(path: Path) -> None:
    Ledger.open(path, IDENTITY)
    header = path.read_bytes()
    for length in range(len(header) + 1):
        path.write_bytes(header[:length])
        assert Ledger.open(path, IDENTITY).entries == []
        assert path.read_bytes() == header


def test_an_append_after_the_torn_line_of_another_process(path: Path) -> None:
    first, second = Ledger.open(path, IDENTITY), Ledger.open(path, IDENTITY)
    first.append(FIRST)
    path.write_bytes(path.read_bytes() + b'{"torn')
    second.append(SECOND)
    assert second.entries == [SECOND]
    assert Ledger.open(path, IDENTITY).entries == [FIRST, SECOND]


APPENDING = """
import sys
from pathlib import Path
from ofa_det.artefacts.ledger import Ledger
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger.open(Path(sys.argv[1]), {"seed": 0})
for count in range(20):
    ledger.append({"process": sys.argv[2], "count": count})
"""


def test_processes_that_start_at_once_lose_nothing(path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDING, str(path), str(number)],
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    _, *entries = map(json.loads, path.read_text().splitlines())
    for number in "012":
        assert [entry["count"] for entry in entries if entry["process"] == number] == list(range(20))


def test_not_a_number_leaves_the_file_as_it_is(path: Path) -> None:
    ledger = Ledger.open(path, IDENTITY)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        ledger.append({"ap": math.nan})
    assert path.read_bytes() == before
    assert ledger.entries == []
