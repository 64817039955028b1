import csv
from dataclasses import replace
from pathlib import Path

import pytest

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import ChosenSubnet, Evaluation, read_subnet
from ofa_det.artefacts.records import read_record
from ofa_det.latency.latencies import LatencyPrediction
from ofa_det.search.report import best_evaluation, pareto_front, write_report

PREDICTION = LatencyPrediction(
    mean_ms=39,
    error_ms=2.5,
    error_source="made up",
    device="Pixel 2",
    runtime="tflite-2020",
    precision="uint8",
    threads=1,
    macs=10,
    parameters=3,
    layers=(),
    excluded="nothing",
)


def evaluation(resolution: int, ap: float, latency_ms: float) -> Evaluation:
    subnet = SubnetConfig.parse(f"r{resolution} k3e1 k3e6.k5e4")
    return Evaluation(subnet=subnet, ap=ap, latency_ms=latency_ms, macs=10, parameters=3)


FAST = evaluation(192, 0.2, 10)
DOMINATED = evaluation(224, 0.15, 12)
MIDDLE = evaluation(256, 0.3, 20)
SLOW = evaluation(288, 0.5, 39)
EQUAL_BUT_SLOWER = evaluation(320, 0.5, 40)
ALL = [SLOW, DOMINATED, EQUAL_BUT_SLOWER, FAST, MIDDLE]


def test_pareto_front_holds_what_no_other_beats() -> None:
    assert pareto_front(ALL) == [FAST, MIDDLE, SLOW]


def test_of_equal_ones_the_front_holds_one() -> None:
    twin = replace(FAST, subnet=SubnetConfig.parse("r192 k3e1 k3e3"))
    assert pareto_front([FAST, twin]) == pareto_front([twin, FAST]) == [twin]


def test_best_is_the_faster_of_two_equal_ones() -> None:
    assert best_evaluation(ALL) is SLOW
    with pytest.raises(ValueError, match="found none"):
        best_evaluation([])


def test_report_files(tmp_path: Path) -> None:
    assert write_report(tmp_path, ALL, PREDICTION, 40) is SLOW
    assert read_subnet(str(tmp_path / "subnet.json")) == SLOW.subnet
    assert read_record(tmp_path / "subnet.json", ChosenSubnet) == ChosenSubnet(
        subnet=SLOW.subnet,
        ap=0.5,
        latency_ms=39,
        latency_error_ms=2.5,
        device="Pixel 2",
        runtime="tflite-2020",
        precision="uint8",
    )
    rows = list(csv.DictReader((tmp_path / "pareto.csv").read_text().splitlines()))
    assert [float(row["latency_ms"]) for row in rows] == [10, 12, 20, 39, 40]
    assert [row["non_dominated"] for row in rows] == ["1", "0", "1", "1", "0"]
    assert SubnetConfig.parse(rows[0]["subnet"]) == FAST.subnet
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "pareto.png").stat().st_size < 200_000


def test_report_is_reproducible(tmp_path: Path) -> None:
    write_report(tmp_path / "a", ALL, PREDICTION, 40)
    write_report(tmp_path / "b", list(ALL), PREDICTION, 40)
    for name in ("subnet.json", "pareto.csv", "pareto.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
