"""The benchmarks of the search, on networks that are not trained."""

import random
from pathlib import Path

import benchmark_proxy
import numpy as np
import pytest
from benchmark_caps import CapsConfig, caps, under_caps
from benchmark_proxy import ProxyConfig, proxy, rank_correlation, spread
from benchmark_search import main, reached
from search.searches import SaveSupernet

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.splits import DataConfig
from ofa_det.latency.model import latency_model
from ofa_det.search.scoring import Scoring


def test_rank_correlations_by_hand() -> None:
    options = {"resamples": 200, "confidence": 0.9}
    rising = rank_correlation([1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.3, 0.9], kind="spearman", **options)
    assert (rising.value, rising.high) == (pytest.approx(1.0), pytest.approx(1.0))
    # One of six pairs is the other way round: (5 - 1) / 6. Spearman: 1 - 6 * 2 / (4 * 15).
    swapped = [0.2, 0.1, 0.3, 0.9]
    assert rank_correlation([1.0, 2.0, 3.0, 4.0], swapped, kind="kendall", **options).value == pytest.approx(4 / 6)
    spearman = rank_correlation([1.0, 2.0, 3.0, 4.0], swapped, kind="spearman", **options)
    assert spearman.value == pytest.approx(0.8)
    assert -1 <= spearman.low < 0.8 < spearman.high <= 1
    assert spearman == rank_correlation([1.0, 2.0, 3.0, 4.0], swapped, kind="spearman", **options)


def test_subnets_are_spread_over_the_latencies(toy) -> None:
    problem = toy.problem(1e6)
    subnets = spread(problem, 6, seed=0)
    assert len(set(subnets)) == 6
    latencies = np.array([toy.costs(subnet).latency_ms for subnet in subnets])
    steps = np.diff(latencies)
    assert (steps > 0).all()
    assert steps.max() < 1.2 * steps.min()
    assert subnets == spread(problem, 6, seed=0) != spread(problem, 6, seed=1)


def test_what_strategies_need_for_what_random_search_finds() -> None:
    curves = {"random": [0.1, 0.2, 0.3], "evolution": [0.1, 0.1, 0.2], "linas": [0.2, 0.3, 0.4]}
    first, second = reached(curves)
    assert first.endswith("0.3000 after 3 subnets; evolution does not reach it")
    assert second.endswith("linas reaches it with 2")


def test_largest_subnets_under_caps(tiny_space: SearchSpace, tiny_space_file: Path, tmp_path: Path, capsys) -> None:
    detector = DetectorConfig.of(tiny_space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes())
    description = ModelDescription(
        detector=detector, subnet=None, categories=CATEGORIES, postprocess=PostProcessConfig()
    )
    config = CapsConfig(latency_cap_ms=(0.5, 8.0, 1e3))
    none, some, all_ = under_caps(description, latency_model(), config)
    assert (none.keeps, some.keeps, all_.keeps) == (False, True, True)
    assert none.costs.at_most_ms > 0.5
    assert none.costs.at_most_ms <= some.costs.at_most_ms <= 8.0
    assert all_.subnet == tiny_space.largest()
    assert sum(ms for ms, _ in all_.sorts.values()) + all_.latency.postprocessing_ms == pytest.approx(
        all_.latency.mean_ms
    )
    assert sum(macs for _, macs in all_.sorts.values()) == pytest.approx(all_.costs.macs / 1e6)
    options = CapsConfig(spaces=(str(tiny_space_file),), latency_cap_ms=(0.5, 8.0), num_classes=3, output=str(tmp_path))
    caps(options)
    out = capsys.readouterr().out
    assert "| 0.5, kept by none |" in out
    assert (tmp_path / "caps_tiny.png").read_bytes().startswith(b"\x89PNG")


def test_the_score_is_compared_with_fine_tuning_once(
    save_supernet: SaveSupernet, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    save_supernet(tmp_path / "supernet")
    tuned: list[str] = []

    def trained_and_scored(data: DataConfig, preset: str, folder: Path, **options: object) -> dict[str, float]:
        assert (preset, options["supernet"], data.holdout_fraction) == ("finetune", str(tmp_path / "supernet"), 0.0)
        if len(tuned) == 3 and not (tmp_path / "go on").exists():
            raise KeyboardInterrupt
        tuned.append(str(options["subnet"]))
        return {"AP": 0.5 + random.Random(str(options["subnet"])).random() / 2}

    def inherited(_: Scoring, subnet: SubnetConfig) -> float:
        return random.Random(str(subnet)).random()

    monkeypatch.setattr(benchmark_proxy, "trained_and_scored", trained_and_scored)
    monkeypatch.setattr(Scoring, "ap", inherited)
    config = ProxyConfig(
        supernet=str(tmp_path / "supernet"),
        data=DataConfig(root=str(tiny_root)),
        subnets=5,
        calibration_images=4,
        resamples=50,
        output=str(tmp_path / "proxy"),
    )
    with pytest.raises(KeyboardInterrupt):
        proxy(config)
    (tmp_path / "go on").touch()
    proxy(config)
    assert len(tuned) == len(set(tuned)) == 5
    out = capsys.readouterr().out
    assert "inherited AP: Spearman 1.00 (" in out
    assert "latency alone: Spearman" in out
    proxy(config)
    assert len(tuned) == 5
    with pytest.raises(ValueError, match=r"expected subnets 6 in .*proxy\.jsonl, found 5"):
        proxy(ProxyConfig(**{**vars(config), "subnets": 6}))


def test_words_that_are_no_benchmark(capsys) -> None:
    assert main(["fronts"]) == 2
    assert "expected one of speed, strategies, proxy, caps, found" in capsys.readouterr().err
