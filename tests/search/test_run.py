import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from saved_supernets import write_supernet

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import ChosenSubnet, Evaluation, read_subnet
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation import torch_detector
from ofa_det.evaluation.holdout import augmentation_of
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.latency.calibrated_table import CalibratedTable, HeldOut
from ofa_det.latency.features import FEATURES
from ofa_det.latency.model import latency_model
from ofa_det.latency.pixel2 import pixel2_model
from ofa_det.latency.postprocessing import detection_tail
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.run_folder import load_supernet
from ofa_det.search import report
from ofa_det.search import run as run_module
from ofa_det.search.choice import RescoreConfig
from ofa_det.search.config import ScoreConfig, SearchConfig
from ofa_det.search.evolution import EvolutionConfig
from ofa_det.search.file_size import FILE_MARGIN, int8_file_bytes
from ofa_det.search.linas import LinasConfig
from ofa_det.search.nsga2 import NsgaConfig
from ofa_det.search.objective import Limits, Objective
from ofa_det.search.problem import SearchProblem
from ofa_det.search.report import SearchResult
from ofa_det.search.run import search
from ofa_det.search.scoring import Scoring, divided

RESULT_FILES = ("evaluations.jsonl", "subnet.json", "search.json", "pareto.csv", "pareto.png", "search_curve.png")
CAP_MS = 9.0
POSTPROCESS = PostProcessConfig(score_threshold=0.001, max_detections=7)


@pytest.fixture(scope="module")
def data(tiny_root: Path) -> DataConfig:
    return DataConfig(root=str(tiny_root), holdout_fraction=0.5)


SaveSupernet = Callable[..., Path]


@pytest.fixture(scope="module")
def save_supernet(tiny_space: SearchSpace, data: DataConfig) -> SaveSupernet:
    """Saves a random supernet that was trained, so it says, on half of the images."""

    def save(folder: Path, seed: int = 0, space: SearchSpace = tiny_space, **changes: object) -> Path:
        torch.manual_seed(seed)
        detector = DetectorConfig.of(space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes())
        description = ModelDescription(
            detector=detector,
            subnet=None,
            categories=CATEGORIES,
            postprocess=POSTPROCESS,
            holdout_fraction=data.holdout_fraction,
            training_images=open_split(data, "fit").fingerprint(),
        )
        write_supernet(folder, replace(description, **changes))
        return folder

    return save


NewConfig = Callable[..., SearchConfig]


@pytest.fixture(scope="module")
def new_config(data: DataConfig) -> NewConfig:
    def make(supernet: Path, output: Path, **changes: object) -> SearchConfig:
        options = {
            "supernet": str(supernet),
            "data": replace(data, holdout_fraction=0.0),
            "latency_cap_ms": CAP_MS,
            "calibration_images": 4,
            "strategy": "evolution",
            "baselines": False,
            "rescore": RescoreConfig(candidates=2, calibration_images=6, resamples=5),
            "evolution": EvolutionConfig(population=4, generations=1),
            "output": str(output),
        }
        return SearchConfig(**options | changes)

    return make


def run(config: SearchConfig) -> SearchResult:
    return search(config, progress=False)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULT_FILES}


@pytest.fixture
def supernet(save_supernet: SaveSupernet, tmp_path: Path) -> Path:
    return save_supernet(tmp_path / "supernet")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[SubnetConfig]:
    """The subnets whose AP is measured, which takes no time: it follows from the subnet."""
    subnets: list[SubnetConfig] = []

    def ap(scorer: SubnetScorer, network: DetectionNetwork, subnet: SubnetConfig) -> float:
        subnets.append(subnet)
        return random.Random(str(subnet)).random()

    def resampled(scoring: object, subnet: SubnetConfig) -> tuple[float, ...]:
        return tuple(random.Random(f"again {subnet}").random() for _ in range(4))

    monkeypatch.setattr(SubnetScorer, "ap", ap)
    monkeypatch.setattr(Scoring, "resampled", resampled)
    for plot in (
        "front_plot",
        "curve_plot",
        "fit_plot",
        "architectures_plot",
    ):  # Half a second each; test_report.py draws them.
        monkeypatch.setattr(report, plot, lambda *_, **__: b"a picture")
    return subnets


def test_search_writes_the_best_subnet_under_the_cap(
    supernet: Path, new_config: NewConfig, tiny_space: SearchSpace, data: DataConfig, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    result = run(new_config(supernet, output))
    assert len(result.evaluations) == 1 + 8  # The largest under the cap comes first.
    assert all(e.subnet in tiny_space and 0 < e.latency_ms < e.at_most_ms <= CAP_MS for e in result.evaluations)
    (choice,) = result.choices
    assert choice.control == result.evaluations[0]
    assert choice.best == result.best
    assert max(result.evaluations, key=lambda e: e.ap).subnet in result.rescored
    assert result.rescored[result.best.subnet].ap == max(found.ap for found in result.rescored.values())
    assert len(result.rescored) in (2, 3)
    assert (result.holdout_images, result.rescore_images) == (3, 3)
    chosen = read_record(output / "subnet.json", ChosenSubnet)
    assert chosen.subnet == read_subnet(str(output / "subnet.json")) == result.best.subnet
    assert (chosen.ap, chosen.latency_ms) == (choice.rescored.ap, result.best.latency_ms)
    assert 0 < chosen.latency_error_ms < chosen.latency_ms
    assert len((output / "pareto.csv").read_text().splitlines()) == 1 + 9
    assert len((output / "evaluations.jsonl").read_text().splitlines()) == 1 + 9


def test_an_evaluation_is_that_of_the_shipped_network(
    supernet: Path, new_config: NewConfig, data: DataConfig, tmp_path: Path
) -> None:
    config = new_config(supernet, tmp_path / "out", evolution=EvolutionConfig(population=2, generations=0))
    trained = load_supernet(supernet)
    fit, holdout = open_split(data, "fit"), open_split(data, "holdout")
    scored, again = divided(holdout, config.rescore.share)
    assert not {scored.image_id(i) for i in range(len(scored))} & {again.image_id(i) for i in range(len(again))}
    scorer = SubnetScorer(
        trained.description,
        calibration=fit,
        augmentation=augmentation_of(supernet),
        calibration_images=4,
        scored=scored,
    )
    model = latency_model("pixel2", precision="uint8")
    for evaluation in run(config).evaluations:
        plan = trained.description.shipped_plan(evaluation.subnet)
        predicted = model.predict(plan.layers, detection_tail(plan, POSTPROCESS, precision="uint8"))
        assert evaluation == Evaluation(
            subnet=evaluation.subnet,
            ap=scorer.ap(trained.network, evaluation.subnet),
            latency_ms=predicted.mean_ms,
            at_most_ms=pytest.approx(predicted.at_most_ms(1.0)),
            macs=plan.macs,
            parameters=plan.parameters,
            file_bytes=int8_file_bytes(plan),
        )


def test_subnets_are_scored_with_the_supernets_postprocessing(
    supernet: Path, new_config: NewConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[PostProcessConfig] = set()
    original = torch_detector.postprocess

    def kept(boxes: torch.Tensor, scores: torch.Tensor, config: PostProcessConfig) -> object:
        used.add(config)
        return original(boxes, scores, config)

    monkeypatch.setattr(torch_detector, "postprocess", kept)
    run(new_config(supernet, tmp_path / "out", evolution=EvolutionConfig(population=1, generations=0)))
    assert used == {POSTPROCESS}


def test_equal_searches_write_equal_files(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tmp_path: Path
) -> None:
    run(new_config(supernet, tmp_path / "a"))
    run(new_config(supernet, tmp_path / "b"))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert len(measured) == len(set(measured)) == 9


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
    assert (
        len(list((folder / "measured_ap").iterdir())) == 4 + 3
    )  # AP, and that of the choice, which has statistics of its own.


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


class OneByOne:
    """A strategy of a caller: the smallest subnet, then random single steps up under the cap."""

    most_evaluations = None

    def __init__(self, problem: SearchProblem) -> None:
        self._next = [problem.space.smallest(64)]
        self._problem = problem
        self._rng = random.Random(0)
        self.told: list[Evaluation] = []

    @property
    def identity(self) -> dict[str, object]:
        return {"strategy": "one by one"}

    def ask(self, count: int) -> list[SubnetConfig]:
        return self._next if len(self.told) < 4 else []

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        if self.told:  # What comes first are the baselines.
            larger = self._problem.space.larger_neighbours(evaluations[-1].subnet)
            self._next = [self._rng.choice([s for s in larger if self._problem.allows(s)])]
        self.told += evaluations


def test_a_measured_table_is_a_device(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tmp_path: Path
) -> None:
    pixel2 = pixel2_model("uint8")
    table = CalibratedTable(
        device="my phone",
        runtime="its runtime",
        precision="uint8",
        threads=1,
        machine={},
        clock="wall",
        space="ssdlite_mbv3_tiny",
        networks=60,
        features=FEATURES,
        costs=tuple((pixel2.fitted.costs / 10).tolist()),
        law=pixel2.law,
        ranges=pixel2.calibrated.ranges,
        held_out=HeldOut(networks=30, spearman=0.99, mean_error=0.02, worst_error=0.05, rms_error=0.1),
    )
    write_record(tmp_path / "latency_table.json", table)
    config = new_config(
        supernet, tmp_path / "out", device=str(tmp_path / "latency_table.json"), latency_cap_ms=CAP_MS / 10
    )
    result = run(config)
    assert (result.latency.device, result.latency.runtime) == ("my phone", "its runtime")
    assert all(evaluation.latency_ms < CAP_MS / 10 for evaluation in result.evaluations)
    assert read_record(tmp_path / "out/subnet.json", ChosenSubnet).device == "my phone"


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


def test_a_strategy_of_the_callers(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tmp_path: Path
) -> None:
    config = new_config(supernet, tmp_path / "out")
    made: list[OneByOne] = []

    def factory(problem: SearchProblem) -> OneByOne:
        made.append(OneByOne(problem))
        return made[-1]

    result = search(config, strategy=factory, progress=True)
    assert len(result.evaluations) == 4
    assert made[0].told == list(result.evaluations)
    assert [evaluation.subnet for evaluation in result.evaluations] == measured
    before = content(tmp_path / "out")
    search(replace(config, resume=True), strategy=OneByOne, progress=False)
    assert len(measured) == 4
    assert content(tmp_path / "out") == before
    with pytest.raises(ValueError, match=r"expected .* in .*, found .*; choose another --output"):
        run(replace(config, resume=True))


def test_a_strategy_that_breaks_the_cap_or_leaves_the_space_is_refused(
    supernet: Path, new_config: NewConfig, measured: list[SubnetConfig], tiny_space: SearchSpace, tmp_path: Path
) -> None:
    slow, foreign = tiny_space.largest(), replace(tiny_space.smallest(), resolution=32)
    for subnet in (slow, foreign):

        class Wrong(OneByOne):
            def ask(self, count: int, subnet: SubnetConfig = subnet) -> list[SubnetConfig]:
                return [self._problem.space.smallest(64), subnet]

        config = new_config(supernet, tmp_path / str(subnet.resolution))
        with pytest.raises(
            ValueError, match=rf"of the space within {CAP_MS:g} ms and the limits from the strategy, found {subnet}"
        ):
            search(config, strategy=Wrong, progress=False)
    assert len(measured) == 1  # The largest under the cap.


def test_a_supernet_that_cannot_be_written_is_searched_with_a_warning(
    supernet: Path,
    new_config: NewConfig,
    measured: list[SubnetConfig],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (supernet / "measured_ap").touch()  # A file: nothing can be written in it, whoever runs the test.
    with caplog.at_level(logging.WARNING):
        run(new_config(supernet, tmp_path / "out"))
    assert len(measured) == 9
    assert caplog.text.count("measured AP is not kept") == 2  # In the search and in the choice.


FAST_LINAS = LinasConfig(first=4, batch=3, nsga=NsgaConfig(population=20, generations=3))


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


def test_other_ranks_than_the_first_leave_the_output_alone(
    supernet: Path, new_config: NewConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "launched_ranks", lambda: nullcontext(SimpleNamespace(first=False)))
    monkeypatch.setattr(run_module.Team, "serve", lambda _: "what the first found")
    assert run(new_config(supernet, tmp_path / "out")) == "what the first found"
    assert not (tmp_path / "out").exists()
