"""Caps, limits and objectives, and what cannot be searched."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from search.searches import CAP_MS, FAST_LINAS, POSTPROCESS, NewConfig, SaveSupernet, run

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import read_subnet
from ofa_det.data.splits import DataConfig
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.latency.pixel2 import pixel2_model
from ofa_det.latency.postprocessing import detection_tail
from ofa_det.models.run_folder import load_supernet
from ofa_det.search.config import SearchConfig
from ofa_det.search.file_size import FILE_MARGIN
from ofa_det.search.objective import Limits, Objective
from ofa_det.search.scoring import Scoring


@pytest.fixture
def refused(new_config: NewConfig, tmp_path: Path) -> Iterator[Callable[..., str]]:
    def message(supernet: Path, **changes: object) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            run(new_config(supernet, tmp_path / "out", **changes))
        return str(error.value)

    yield message
    assert not (tmp_path / "out").exists()


def test_an_infeasible_cap_names_the_smallest_latency_and_leaves_no_file(
    supernet: Path, refused: Callable[..., str]
) -> None:
    message = refused(supernet, latency_cap_ms=0.5)
    assert "expected a latency cap of at least" in message
    assert "found 0.5 ms" in message
    assert not (supernet / "measured_ap").exists()


def test_what_cannot_be_searched_is_refused(
    save_supernet: SaveSupernet, refused: Callable[..., str], data: DataConfig, tmp_path: Path
) -> None:
    supernet = save_supernet(tmp_path / "supernet")
    assert "model.safetensors, found none" in refused(tmp_path / "nowhere")
    assert "holdout_fraction above 0, found 0" in refused(save_supernet(tmp_path / "all", holdout_fraction=0.0))
    assert "holdout_fraction 0.5, that of" in refused(supernet, data=replace(data, holdout_fraction=0.2))
    assert "held-out images may have been trained on" in refused(supernet, data=replace(data, limit=8))
    assert "found 'abacus'" in refused(supernet, accelerator="abacus")
    assert "a device of" in refused(supernet, device="pixel9")
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone/64_lookup_table.yaml").write_text("{}\n")
    message = refused(supernet, device=str(tmp_path / "phone"), precision="float32")
    assert "expected a classifier, found a detector" in message
    with pytest.raises(ValueError, match="latency_cap_ms > 0, one or several, found 0"):
        SearchConfig(supernet="x", data=data, latency_cap_ms=0)


def test_every_subnet_stays_below_the_cap_by_so_many_standard_errors(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tmp_path: Path
) -> None:
    description, model = load_supernet(supernet).description, pixel2_model("uint8")
    for safety in (0.0, 2.0):
        result = run(new_config(supernet, tmp_path / str(safety), safety=safety))
        for evaluation in result.evaluations:
            plan = description.shipped_plan(evaluation.subnet)
            estimate = model.estimate(plan.layers, detection_tail(plan, POSTPROCESS, precision="uint8"))
            assert evaluation.latency_ms == estimate.mean_ms
            assert estimate.at_most_ms(safety) <= CAP_MS
    with pytest.raises(ValueError, match="expected safety >= 0"):
        new_config(supernet, tmp_path / "c", safety=-1.0)
    with pytest.raises(ValueError, match=r"expected safety 1\.0"):
        run(new_config(supernet, tmp_path / "0.0", resume=True))


def test_one_search_serves_several_caps(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tiny_space: SearchSpace, tmp_path: Path
) -> None:
    options = {"strategy": "linas", "linas": FAST_LINAS, "max_evaluations": 12, "baselines": True}
    result = run(new_config(supernet, tmp_path / "a", latency_cap_ms=(14.0, 9.0, 11.0), **options))
    assert [choice.cap_ms for choice in result.choices] == [9.0, 11.0, 14.0]
    for choice in result.choices:
        assert choice.best.at_most_ms <= choice.cap_ms
        assert choice.control.at_most_ms <= choice.cap_ms
        assert choice.control.macs >= max(e.macs for e in result.evaluations if e.at_most_ms <= choice.cap_ms)
        assert read_subnet(str(tmp_path / f"a/subnet_{choice.cap_ms:g}ms.json")) == choice.best.subnet
    assert {"smallest", "largest", "uniform", "largest under 9 ms"} <= set(result.roles.values())
    asked = [e for e in result.evaluations if e.subnet not in result.roles]
    assert len(asked) == 12
    assert all(e.at_most_ms <= 14 for e in asked)
    assert len(measured) == len(set(measured)) == len(result.evaluations)
    assert result.fit is not None
    assert len(result.fit.predicted) == 8
    # Other strategies and caps use what was measured.
    known = set(measured)
    del measured[:]
    second = run(new_config(supernet, tmp_path / "b", latency_cap_ms=11.0, baselines=True))
    shared = [e for e in second.evaluations if e.subnet in known]
    assert len(shared) >= 5
    assert not known & set(measured)
    third = run(new_config(supernet, tmp_path / "a", latency_cap_ms=(9.0, 11.0, 14.0), resume=True, **options))
    assert third == result


def test_limits_hold_beside_the_cap(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tmp_path: Path
) -> None:
    free = run(new_config(supernet, tmp_path / "free"))
    limits = Limits(
        mmacs=0.8 * max(e.macs for e in free.evaluations) / 1e6,
        mparameters=0.9 * max(e.parameters for e in free.evaluations) / 1e6,
    )
    result = run(new_config(supernet, tmp_path / "out", limits=limits))
    assert len(result.evaluations) == 9
    assert all(e.macs <= 1e6 * limits.mmacs and e.parameters <= 1e6 * limits.mparameters for e in result.evaluations)
    small = max(e.file_bytes for e in free.evaluations) - 10_000
    third = run(new_config(supernet, tmp_path / "file", limits=Limits(file_mb=small / 1e6)))
    assert all(FILE_MARGIN * e.file_bytes <= small for e in third.evaluations)
    with pytest.raises(ValueError, match=r"expected limits\.file_mb of at least \d.*found 0\.1; raise it"):
        run(new_config(supernet, tmp_path / "none", limits=Limits(file_mb=0.1)))
    with pytest.raises(ValueError, match=r"expected limits\.mmacs of at least \d.*found 0\.1; raise it"):
        run(new_config(supernet, tmp_path / "none", limits=Limits(mmacs=0.1)))


def test_a_soft_objective_may_break_the_cap_where_ap_pays_for_it(
    supernet: Path,
    new_config: NewConfig,
    measured: list[SubnetConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def size(subnet: SubnetConfig) -> float:
        return subnet.resolution * sum(b.expand_ratio for stage in subnet.stages for b in stage) / 1e4

    monkeypatch.setattr(SubnetScorer, "ap", lambda _, __, subnet: size(subnet))
    monkeypatch.setattr(Scoring, "resampled", lambda _, subnet: (size(subnet),) * 3)
    options = {"strategy": "linas", "linas": FAST_LINAS, "max_evaluations": 10}
    hard = run(new_config(supernet, tmp_path / "hard", **options))
    assert hard.best.at_most_ms <= CAP_MS
    soft = run(new_config(supernet, tmp_path / "soft", objective=Objective(kind="soft"), **options))
    assert soft.best.at_most_ms > CAP_MS
    again = [e for e in soft.evaluations if e.subnet in soft.rescored]
    worth = {e.subnet: e.ap * (e.at_most_ms / CAP_MS) ** -0.07 for e in again}
    assert max(worth, key=lambda subnet: worth[subnet]) == soft.best.subnet
