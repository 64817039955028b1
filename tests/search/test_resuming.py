"""A search that goes on, and what another search of the supernet has to measure."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from search.searches import FAST_LINAS, POSTPROCESS, NewConfig, SaveSupernet, content, run

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.network import DetectionNetwork
from ofa_det.search.evolution import EvolutionConfig
from ofa_det.search.objective import Limits


@pytest.mark.parametrize(
    "change",
    [{"latency_cap_ms": 25.0}, {"seed": 1}, {"precision": "float32", "latency_cap_ms": 20.0, "seed": 1}],
)
def test_another_search_of_the_supernet_measures_only_what_is_new(
    tiny_space: SearchSpace,
    save_supernet: SaveSupernet,
    new_config: NewConfig,
    measured: list[SubnetConfig],
    tmp_path: Path,
    change: dict[str, object],
) -> None:
    first_stage, *others = tiny_space.stages
    stages = (first_stage, *(replace(stage, depths=(1,), expand_ratios=(3,)) for stage in others))
    narrow = replace(tiny_space, backbone=replace(tiny_space.backbone, stages=stages))
    assert narrow.count() == 64
    supernet = save_supernet(tmp_path / "supernet", space=narrow)
    evolution = EvolutionConfig(population=15, generations=1)
    first = run(new_config(supernet, tmp_path / "a", evolution=evolution))
    known = [evaluation.subnet for evaluation in first.evaluations]
    assert measured == known
    del measured[:]
    second = run(new_config(supernet, tmp_path / "b", evolution=evolution, **change))
    asked = [evaluation.subnet for evaluation in second.evaluations]
    assert measured == [subnet for subnet in asked if subnet not in known]
    assert 0 < len(measured) < len(asked)
    # Whether a score is old or new makes no difference.
    assert all(evaluation.ap == random.Random(str(evaluation.subnet)).random() for evaluation in second.evaluations)


def test_other_weights_or_calibration_are_measured_anew(
    save_supernet: SaveSupernet, new_config: NewConfig, measured: list[SubnetConfig], tmp_path: Path
) -> None:
    folder = save_supernet(tmp_path / "supernet")
    run(new_config(folder, tmp_path / "a"))
    run(new_config(folder, tmp_path / "b", calibration_images=5))
    save_supernet(folder, seed=1)
    run(new_config(folder, tmp_path / "c"))
    save_supernet(folder, seed=1, postprocess=replace(POSTPROCESS, iou_threshold=0.5))  # as fast
    run(new_config(folder, tmp_path / "d"))
    assert measured == measured[:9] * 4
    # AP, and that of the choice, which has statistics of its own.
    assert len(list((folder / "measured_ap").iterdir())) == 4 + 3


@pytest.mark.parametrize("kept", [True, False])
def test_a_killed_search_goes_on_to_the_same_files_and_measures_nothing_twice(
    supernet: Path,
    new_config: NewConfig,
    measured: list[SubnetConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: bool,
) -> None:
    """Its log alone knows what was measured, whether or not the supernet's folder does; it may be a fresh copy."""
    evolution = EvolutionConfig(population=10, generations=1)
    original = SubnetScorer.ap

    def until_killed(scorer: SubnetScorer, network: DetectionNetwork, subnet: SubnetConfig) -> float:
        if len(measured) == 13:
            raise KeyboardInterrupt
        return original(scorer, network, subnet)

    with monkeypatch.context() as patch:
        patch.setattr(SubnetScorer, "ap", until_killed)
        with pytest.raises(KeyboardInterrupt):
            run(new_config(supernet, tmp_path / "killed", evolution=evolution))
    log = tmp_path / "killed/evaluations.jsonl"
    log.write_bytes(log.read_bytes()[:-20])  # a torn last line
    if not kept:
        shutil.rmtree(supernet / "measured_ap")
    run(new_config(supernet, tmp_path / "killed", evolution=evolution, resume=True))
    torn = measured[12]
    assert len(set(measured)) == 21
    assert measured.count(torn) == (1 if kept else 2)
    assert len(measured) == (21 if kept else 22)
    run(new_config(supernet, tmp_path / "whole", evolution=evolution))
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_search_continues_with_a_larger_budget(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tmp_path: Path
) -> None:
    whole = EvolutionConfig(population=4, generations=2)
    run(new_config(supernet, tmp_path / "a", evolution=whole, max_evaluations=3))
    run(new_config(supernet, tmp_path / "a", evolution=replace(whole, generations=1), resume=True))
    run(new_config(supernet, tmp_path / "a", evolution=whole, resume=True))
    assert len(measured) == 1 + 12
    run(new_config(supernet, tmp_path / "b", evolution=whole))
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_an_existing_output_needs_resume(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tmp_path: Path
) -> None:
    run(new_config(supernet, tmp_path / "out"))
    before = content(tmp_path / "out")
    with pytest.raises(ValueError, match="pass --resume or another --output"):
        run(new_config(supernet, tmp_path / "out"))
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "expected seed 1 in .*, found 0"),
        ({"latency_cap_ms": 8.5}, r"expected latency_cap_ms \[8\.5\]"),
        ({"strategy": "random"}, "expected (evolution|random|strategy)"),
        ({"baselines": True}, "expected baselines True"),
        ({"limits": Limits(mmacs=500.0)}, "expected limits"),
        ({"precision": "float32", "latency_cap_ms": 20.0}, "expected (largest_subnet_ms|latency_cap_ms|latency_model)"),
        ({"calibration_images": 5}, "expected calibration_images 5"),
        ({"evolution": EvolutionConfig(population=5)}, r"expected evolution\.population 5 in .*, found 4"),
    ],
)
def test_another_search_is_not_continued(
    supernet: Path,
    new_config: NewConfig,
    measured: list[SubnetConfig],
    tmp_path: Path,
    change: dict[str, object],
    named: str,
) -> None:
    run(new_config(supernet, tmp_path / "out"))
    before = content(tmp_path / "out")
    with pytest.raises(ValueError, match=f"{named}.*choose another --output"):
        run(new_config(supernet, tmp_path / "out", resume=True, **change))
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("strategy", ["linas", "random"])
def test_a_killed_search_of_any_strategy_goes_on_to_the_same_result(
    supernet: Path,
    new_config: NewConfig,
    measured: list[SubnetConfig],
    tmp_path: Path,
    strategy: str,
) -> None:
    options = {"strategy": strategy, "linas": FAST_LINAS, "latency_cap_ms": (9.0, 12.0)}
    run(new_config(supernet, tmp_path / "a", max_evaluations=9, **options))
    run(new_config(supernet, tmp_path / "b", max_evaluations=5, **options))
    run(new_config(supernet, tmp_path / "b", max_evaluations=9, resume=True, **options))
    assert (tmp_path / "a/search.json").read_bytes() == (tmp_path / "b/search.json").read_bytes()
    assert (tmp_path / "a/pareto.csv").read_bytes() == (tmp_path / "b/pareto.csv").read_bytes()
