from pathlib import Path

import pytest

from ofa_det.arch.search_space import SearchSpace
from ofa_det.search.record import Evaluation, EvaluationRecord

SPACE = SearchSpace()
IDENTITY = {"supernet": "abc", "seed": 0, "resolutions": (192, 224)}
FIRST = Evaluation(subnet=SPACE.smallest(), ap=0.1 + 0.2, latency_ms=1 / 3, macs=7, params=5)
SECOND = Evaluation(subnet=SPACE.largest(), ap=0.5, latency_ms=9.5, macs=70, params=50)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search" / "evaluations.jsonl"


def test_resumed_record_holds_the_exact_scores(path: Path) -> None:
    record = EvaluationRecord.create(path, IDENTITY)
    record.add(FIRST)
    record.add(SECOND)
    resumed = EvaluationRecord.resume(path, IDENTITY)
    assert len(resumed) == 2
    assert resumed.score(FIRST.subnet) == FIRST.ap
    assert resumed.score(SPACE.smallest(224)) is None


def test_adding_a_known_evaluation_leaves_the_file_as_it_is(path: Path) -> None:
    EvaluationRecord.create(path, IDENTITY).add(FIRST)
    before = path.read_bytes()
    EvaluationRecord.resume(path, IDENTITY).add(FIRST)
    assert path.read_bytes() == before


def test_a_different_evaluation_of_a_known_subnet_is_refused(path: Path) -> None:
    record = EvaluationRecord.create(path, IDENTITY)
    record.add(FIRST)
    changed = Evaluation(subnet=FIRST.subnet, ap=FIRST.ap, latency_ms=2.0, macs=7, params=5)
    with pytest.raises(ValueError, match="choose another --output"):
        record.add(changed)


def test_torn_last_line_is_dropped_wherever_it_was_torn(path: Path) -> None:
    record = EvaluationRecord.create(path, IDENTITY)
    record.add(FIRST)
    one = path.read_bytes()
    record.add(SECOND)
    two = path.read_bytes()
    for length in range(len(one), len(two)):
        path.write_bytes(two[:length])
        resumed = EvaluationRecord.resume(path, IDENTITY)
        assert len(resumed) == 1
        resumed.add(SECOND)
        assert path.read_bytes() == two


def test_damaged_middle_line_is_an_error_with_its_number(path: Path) -> None:
    record = EvaluationRecord.create(path, IDENTITY)
    record.add(FIRST)
    path.write_bytes(path.read_bytes() + b"\0\0\n")
    with pytest.raises(ValueError, match=r"line 3.*choose another --output"):
        EvaluationRecord.resume(path, IDENTITY)


def test_another_identity_is_refused_by_name(path: Path) -> None:
    EvaluationRecord.create(path, IDENTITY)
    with pytest.raises(ValueError, match=r"with seed 1, found 0 .*choose another --output") as error:
        EvaluationRecord.resume(path, {**IDENTITY, "seed": 1})
    assert "\n" not in str(error.value)


def test_existing_record_is_not_overwritten_by_a_new_search(path: Path) -> None:
    EvaluationRecord.create(path, IDENTITY).add(FIRST)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="pass --resume or another --output"):
        EvaluationRecord.create(path, IDENTITY)
    assert path.read_bytes() == before


def test_resume_without_a_record_starts_one(path: Path) -> None:
    EvaluationRecord.resume(path, IDENTITY).add(FIRST)
    assert len(EvaluationRecord.resume(path, IDENTITY)) == 1
