from dataclasses import replace
from pathlib import Path

import pytest

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import ChosenSubnet, Evaluation, EvaluationLog, MeasuredAp, read_subnet
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.records import write_record

SMALL, LARGE = map(SubnetConfig.parse, ("r192 k3e1 k3e3", "r320 k3e1 k7e6f.k5e4"))
FIRST = Evaluation(subnet=SMALL, ap=0.1 + 0.2, latency_ms=1 / 3, at_most_ms=0.5, macs=7, parameters=5, file_bytes=9)
SECOND = Evaluation(subnet=LARGE, ap=0.5, latency_ms=9.5, at_most_ms=10.5, macs=70, parameters=50, file_bytes=90)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evaluations.jsonl"


def log(path: Path) -> EvaluationLog:
    return EvaluationLog(Ledger.open(path, {"seed": 0}))


def test_an_entry_is_readable_and_comes_back_exactly() -> None:
    entry = SECOND.to_entry()
    assert entry["subnet"] == "r320 k3e1 k7e6f.k5e4"
    for evaluation in (FIRST, SECOND):
        assert Evaluation.from_entry(evaluation.to_entry(), where="x") == evaluation


def test_the_best_sorts_first() -> None:
    slower, other = replace(SECOND, latency_ms=10.0), replace(SECOND, subnet=SMALL)
    assert sorted([FIRST, slower, SECOND, other], key=lambda e: e.rank) == [other, SECOND, slower, FIRST]


def test_a_known_evaluation_leaves_the_file_as_it_is(path: Path) -> None:
    log(path).add(FIRST)
    before = path.read_bytes()
    resumed = log(path)
    resumed.add(FIRST)
    assert path.read_bytes() == before
    resumed.add(SECOND)
    assert len(resumed) == len(log(path)) == 2
    assert log(path).get(LARGE) == SECOND
    assert log(path).get(SubnetConfig.parse("r192 k3e1 k3e4")) is None


def test_a_differing_evaluation_of_a_known_subnet_is_refused(path: Path) -> None:
    log(path).add(FIRST)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"as recorded in .*evaluations\.jsonl, found .*; choose another --output"):
        log(path).add(replace(FIRST, latency_ms=2.0))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ap": "high"}, "a float at ap"),
        ({"score": 1}, "found 'score'"),
        ({"subnet": "r320"}, "a subnet like .*'r320'"),
    ],
)
def test_an_entry_that_is_no_evaluation_is_refused(path: Path, changes: dict[str, object], message: str) -> None:
    Ledger.open(path, {"seed": 0}).append({**FIRST.to_entry(), **changes})
    with pytest.raises(ValueError, match=rf"evaluations\.jsonl: expected .*{message}"):
        log(path)


def test_measured_ap_is_shared_by_equal_identities_and_by_no_others(tmp_path: Path) -> None:
    identity = {"supernet": "abc", "images": (1, 2)}
    measured = MeasuredAp(tmp_path, identity)
    assert measured.get(SMALL) is None
    measured.add(SMALL, 0.1 + 0.2)
    assert measured.get(SMALL) == 0.1 + 0.2
    shared = MeasuredAp(tmp_path, {"images": [1, 2], "supernet": "abc"})
    assert shared.get(SMALL) == 0.1 + 0.2
    assert shared.get(LARGE) is None
    assert len(shared) == 1
    other = MeasuredAp(tmp_path, {**identity, "supernet": "def"})
    assert other.get(SMALL) is None
    assert len(other) == 0


@pytest.mark.parametrize("entry", [{}, {"subnet": str(SMALL)}, {"subnet": str(SMALL), "ap": "x"}, {"ap": 0.5}])
def test_an_entry_that_is_no_measurement_is_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    MeasuredAp(tmp_path, {})
    (path,) = tmp_path.iterdir()
    Ledger.open(path, {}).append(entry)
    with pytest.raises(ValueError, match=r"\.jsonl: expected .*; delete it"):
        MeasuredAp(tmp_path, {})
    path.write_text("[]\n")
    with pytest.raises(ValueError, match=r"\.jsonl line 1, found .*; delete it"):
        MeasuredAp(tmp_path, {})


def test_a_folder_that_cannot_be_written_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "measured_ap"
    folder.touch()
    measured = MeasuredAp(folder, {})
    measured.add(SMALL, 0.5)
    assert measured.get(SMALL) == 0.5
    (record,) = caplog.records
    assert "measured AP is not kept" in record.getMessage()


def test_a_folder_that_can_no_longer_be_written_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(ledger: Ledger, entry: object) -> None:
        raise OSError("disk full")

    measured = MeasuredAp(tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", full)
        measured.add(SMALL, 0.5)
    measured.add(LARGE, 0.25)
    assert (measured.get(SMALL), measured.get(LARGE)) == (0.5, 0.25)
    (record,) = caplog.records
    assert "disk full" in record.getMessage()
    assert len(MeasuredAp(tmp_path, {})) == 0


def test_a_subnet_is_read_from_a_file_or_written_out(tmp_path: Path) -> None:
    path = tmp_path / "subnet.json"
    with pytest.raises(FileNotFoundError, match=r"found nothing at .*subnet\.json; search one"):
        read_subnet(str(path))
    write_record(path, ChosenSubnet(subnet=LARGE, ap=0.5))
    assert read_subnet(str(path)) == read_subnet(str(LARGE)) == LARGE
    with pytest.raises(ValueError, match="a subnet like"):
        read_subnet("runs/search")
