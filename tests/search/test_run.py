import logging
import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from search.searches import CAP_MS, POSTPROCESS, NewConfig, content, run

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import ChosenSubnet, Evaluation, read_subnet
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation import torch_detector
from ofa_det.evaluation.holdout import augmentation_of
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.latency.calibrated_table import CalibratedTable, HeldOut
from ofa_det.latency.features import FEATURES
from ofa_det.latency.model import latency_model
from ofa_det.latency.pixel2 import pixel2_model
from ofa_det.latency.postprocessing import detection_tail
from ofa_det.models.run_folder import load_supernet
from ofa_det.search import run as run_module
from ofa_det.search.evolution import EvolutionConfig
from ofa_det.search.file_size import int8_file_bytes
from ofa_det.search.problem import SearchProblem
from ofa_det.search.run import search
from ofa_det.search.scoring import divided


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


def test_other_ranks_than_the_first_leave_the_output_alone(
    supernet: Path, new_config: NewConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "launched_ranks", lambda: nullcontext(SimpleNamespace(first=False)))
    monkeypatch.setattr(run_module.Team, "serve", lambda _: "what the first found")
    assert run(new_config(supernet, tmp_path / "out")) == "what the first found"
    assert not (tmp_path / "out").exists()
