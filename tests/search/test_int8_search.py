"""Searches by the AP of int8, measured or predicted."""

import json
import random
from pathlib import Path

import pytest
from search.searches import NewConfig, run

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.network import DetectionNetwork
from ofa_det.search.config import ScoreConfig
from ofa_det.search.evolution import EvolutionConfig
from ofa_det.search.scoring import Scoring


def test_int8_scores_are_kept_apart(supernet: Path, new_config: NewConfig, tmp_path: Path) -> None:
    options = {"evolution": EvolutionConfig(population=1, generations=0)}
    for precision in ("float32", "int8"):
        run(new_config(supernet, tmp_path / precision, score=ScoreConfig(precision=precision), **options))
    headers = [json.loads(path.read_text().splitlines()[0]) for path in (supernet / "measured_ap").iterdir()]
    assert sorted(header["identity"]["scored_as"] for header in headers) == ["float32"] * 2 + ["int8"] * 2


def test_what_int8_takes_is_learnt_from_a_few_and_taken_from_all(
    supernet: Path,
    new_config: NewConfig,
    measured: list[SubnetConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it follows from the architecture: here a subnet of 96 px loses a tenth, one of 64 px nothing."""
    in_int8: list[SubnetConfig] = []
    rescored_in: list[str] = []

    def ap(scorer: SubnetScorer, network: DetectionNetwork, subnet: SubnetConfig) -> float:
        found = random.Random(str(subnet)).uniform(0.4, 0.5)
        if scorer._precision == "float32":
            return found
        in_int8.append(subnet)
        return found - (0.1 if subnet.resolution == 96 else 0.0)

    def resampled(scoring: Scoring, subnet: SubnetConfig) -> tuple[float, ...]:
        rescored_in.append(scoring.rescorer._precision)
        return (0.3, 0.3, 0.4)

    monkeypatch.setattr(SubnetScorer, "ap", ap)
    monkeypatch.setattr(Scoring, "resampled", resampled)
    options = {"score": ScoreConfig(gap_subnets=8), "latency_cap_ms": 25.0}
    result = run(new_config(supernet, tmp_path / "out", **options))
    assert set(in_int8) == {subnet for subnet, role in result.roles.items() if role == "scored in float and int8"}
    assert len(in_int8) == 8
    assert result.gap is not None
    assert result.gap.by_architecture
    assert result.gap.error < 0.02 < 0.04 < result.gap.error_of_mean
    for evaluation in result.evaluations:
        truth = random.Random(str(evaluation.subnet)).uniform(0.4, 0.5) - 0.1 * (evaluation.subnet.resolution == 96)
        assert evaluation.ap == pytest.approx(truth, abs=0.03)
        assert evaluation.subnet not in in_int8 or evaluation.ap == truth
    assert set(rescored_in) == {"int8"}
    count = len(in_int8)
    assert run(new_config(supernet, tmp_path / "out", resume=True, **options)) == result
    assert len(in_int8) == count
    # Without the option the AP of float stands, measured once.
    plain = run(new_config(supernet, tmp_path / "plain", latency_cap_ms=25.0))
    assert all(e.ap == random.Random(str(e.subnet)).uniform(0.4, 0.5) for e in plain.evaluations)
    with pytest.raises(ValueError, match=r"expected score\.gap_subnets 0 in .*, found 8"):
        run(new_config(supernet, tmp_path / "out", latency_cap_ms=25.0, resume=True))


def test_a_gap_needs_a_few_subnets_and_a_float_search() -> None:
    with pytest.raises(ValueError, match="gap_subnets of 0, or 4 or more, found 3"):
        ScoreConfig(gap_subnets=3)
    with pytest.raises(ValueError, match="gap_subnets 0 with precision int8"):
        ScoreConfig(precision="int8", gap_subnets=8)
