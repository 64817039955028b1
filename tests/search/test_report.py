import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ofa_det.arch.detector import DetectorConfig, shipped_plan
from ofa_det.arch.layers import LayerSpec
from ofa_det.arch.levels import LevelSpec
from ofa_det.arch.space import BackboneConfig, SearchSpace
from ofa_det.arch.stages import StageSpec
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import ChosenSubnet, Evaluation, read_subnet
from ofa_det.artefacts.records import read_record
from ofa_det.latency.latencies import LatencyPrediction
from ofa_det.latency.model import latency_model
from ofa_det.search.choice import Choice, Rescored
from ofa_det.search.drawing import DrawnSubnet, architectures_plot, stage_ms
from ofa_det.search.int8_gap import GapFit
from ofa_det.search.plots import PredictorFit
from ofa_det.search.report import SearchResult, pareto_front, write_report

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
    rests_on="9 published networks",
    extrapolated=("depthwise 7x7: in no timed network",),
)


STAGES = tuple(
    StageSpec(width=width, stride=2, activation="relu", depths=(1, 2), kernel_sizes=(3, 5), expand_ratios=(1, 4, 6))
    for width in (16, 24)
)
SPACE = SearchSpace(
    resolutions=(192,),
    backbone=BackboneConfig(stem=LayerSpec(width=16, kernel_size=3, stride=2, activation="relu"), stages=STAGES),
    levels=(LevelSpec(feature="stages.1", stride=8),),
)


def evaluation(resolution: int, ap: float, latency_ms: float) -> Evaluation:
    return Evaluation(
        subnet=SubnetConfig.parse(f"r{resolution} k3e1 k3e6.k5e4"),
        ap=ap,
        latency_ms=latency_ms,
        at_most_ms=latency_ms + 1,
        macs=10,
        parameters=3,
        file_bytes=2_000_000,
    )


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


def choice(cap_ms: float, best: Evaluation, difference: float) -> Choice:
    return Choice(
        cap_ms=cap_ms,
        best=best,
        rescored=Rescored(ap=best.ap - 0.01, error=0.02),
        control=MIDDLE,
        control_rescored=Rescored(ap=0.29, error=0.02),
        difference=Rescored(ap=difference, error=0.015),
    )


def found(*choices: Choice, fit: PredictorFit | None = None, gap: GapFit | None = None) -> SearchResult:
    return SearchResult(
        choices=choices,
        latencies=(PREDICTION,) * len(choices),
        evaluations=tuple(ALL),
        roles={FAST.subnet: "smallest", MIDDLE.subnet: "largest under 45 ms"},
        rescored={one.best.subnet: one.rescored for one in choices} | {MIDDLE.subnet: Rescored(ap=0.29, error=0.02)},
        holdout_images=20,
        rescore_images=10,
        other_images=True,
        safety=1.0,
        strategy="linas",
        scored_as="float32" if gap is None else "int8",
        space=SPACE,
        drawn=tuple(DrawnSubnet(title="it", subnet=one.best.subnet, latency=PREDICTION) for one in choices),
        fit=fit,
        gap=gap,
    )


ONE = found(choice(45.0, SLOW, 0.2))


def test_one_cap_gives_one_subnet(tmp_path: Path) -> None:
    write_report(tmp_path, ONE)
    assert read_subnet(str(tmp_path / "subnet.json")) == SLOW.subnet == ONE.best.subnet
    assert read_record(tmp_path / "subnet.json", ChosenSubnet) == ChosenSubnet(
        subnet=SLOW.subnet,
        ap=0.49,
        latency_ms=39,
        latency_error_ms=2.5,
        device="Pixel 2",
        runtime="tflite-2020",
        precision="uint8",
        ap_error=0.02,
        cap_ms=45.0,
        at_most_ms=40,
        rests_on="9 published networks",
        within_noise=False,
    )
    rows = list(csv.DictReader((tmp_path / "pareto.csv").read_text().splitlines()))
    assert [float(row["latency_ms"]) for row in rows] == [10, 12, 20, 39, 40]
    assert [row["non_dominated"] for row in rows] == ["1", "0", "1", "1", "0"]
    assert [row["role"] for row in rows] == ["smallest", "", "largest under 45 ms", "", ""]
    assert [row["chosen_under_ms"] for row in rows] == ["", "", "", "45", ""]
    assert [row["rescored_ap"] for row in rows] == ["", "", "0.29", "0.49", ""]
    assert SubnetConfig.parse(rows[0]["subnet"]) == FAST.subnet
    for name in ("pareto.png", "search_curve.png", "architectures.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / name).stat().st_size < 200_000
    assert not (tmp_path / "predictor_fit.png").exists()
    assert not (tmp_path / "int8_gap.png").exists()


def test_each_of_several_caps_gives_a_subnet_and_stands_in_the_report(tmp_path: Path) -> None:
    result = found(
        choice(22.5, MIDDLE, 0.0), choice(45.0, SLOW, 0.2), fit=PredictorFit(predicted=(0.1,), measured=(0.2,))
    )
    write_report(tmp_path, result)
    assert not (tmp_path / "subnet.json").exists()
    assert read_subnet(str(tmp_path / "subnet_22.5ms.json")) == MIDDLE.subnet == result.choices[0].best.subnet
    assert read_subnet(str(tmp_path / "subnet_45ms.json")) == SLOW.subnet == result.best.subnet
    assert (tmp_path / "predictor_fit.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "search.json").read_text())
    assert [(cap["cap_ms"], cap["within_noise"]) for cap in report["caps"]] == [(22.5, True), (45.0, False)]
    assert report["latency_rests_on"] == "9 published networks"


def test_the_summary_says_what_the_numbers_rest_on_and_whether_they_differ() -> None:
    sure, unsure = ONE.summary(), found(choice(45.0, SLOW, 0.02)).summary()
    assert sure.splitlines()[0] == str(SLOW.subnet)
    for text in (
        "cap 45 ms: 39.0 ms ± 2.5 ms on Pixel 2 (uint8, tflite-2020, 1 thread), at most 40.0 ms, 1 standard error",
        "AP 49.0 ± 2.0 on 10 other held-out training images, 50.0 on 20 in the search",
        "largest subnet under the cap: AP 29.0 ± 2.0, 20.0 ms; the choice is +20.0 ± 1.5 AP, more than 2",
        "the ± of the latency rests on 9 published networks; not counted: nothing",
        "extrapolated: depthwise 7x7: in no timed network",
        "5 subnets scored, 3 of them by linas; the choice was made in float32",
    ):
        assert text in sure
    assert "+2.0 ± 1.5 AP, within 2 standard errors: NOT told apart" in unsure
    assert "it is the largest subnet under the cap" in found(choice(45.0, MIDDLE, 0.0)).summary()


def test_report_is_reproducible(tmp_path: Path) -> None:
    write_report(tmp_path / "a", ONE)
    write_report(tmp_path / "b", replace(ONE, evaluations=tuple(ALL)))
    for name in ("subnet.json", "search.json", "pareto.csv", "pareto.png", "search_curve.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_choice_above_the_cap_is_called_so() -> None:
    assert "ABOVE the cap" not in ONE.summary()
    assert "ABOVE the cap, which the soft objective allows" in found(choice(39.5, SLOW, 0.2)).summary()


def test_what_int8_takes_is_told_with_its_fit(tmp_path: Path) -> None:
    gap = GapFit(
        float_ap=(0.2, 0.3, 0.4, 0.5), int8_ap=(0.19, 0.28, 0.37, 0.46), predicted=(-0.02, -0.02, -0.03, -0.03)
    )
    assert gap.gaps.tolist() == pytest.approx([-0.01, -0.02, -0.03, -0.04])
    assert gap.error == pytest.approx((2 * 0.01**2 / 4) ** 0.5)
    # The others' means are -0.03, -0.0267, -0.0233 and -0.02.
    assert gap.error_of_mean == pytest.approx((2 * (0.02**2 + (0.02 / 3) ** 2) / 4) ** 0.5)
    assert gap.by_architecture
    result = found(choice(45.0, SLOW, 0.2), gap=gap)
    for text in (
        "AP in the search is that of int8, predicted: float and -2.50 AP (-4.00 to -1.00) in 4 subnets scored both",
        "predicted from its architecture, left out within 0.71 AP (root mean square; from that mean within 1.49)",
        "the choice was made in int8, simulated",
    ):
        assert text in result.summary()
    write_report(tmp_path, result)
    report = json.loads((tmp_path / "search.json").read_text())
    assert report["scored_as"] == "int8"
    assert report["gap"]["subnets"] == 4
    assert (tmp_path / "int8_gap.png").read_bytes().startswith(b"\x89PNG")


def test_the_milliseconds_of_a_stage_are_those_of_its_layers() -> None:
    detector = DetectorConfig.of(SPACE, num_classes=1, anchor_sizes=(((0.2, 0.2),),))
    subnet = SubnetConfig.parse("r192 k3e1 k3e6.k5e4")
    plan = shipped_plan(detector, 1, subnet)
    latency = latency_model().predict(plan.layers)
    first, second = stage_ms(latency, 2)
    alone = {layer.name: layer.latency_ms for layer in latency.layers}
    assert first == alone["backbone.stages.0.0.depthwise"] + alone["backbone.stages.0.0.project"]
    outside = sum(ms for name, ms in alone.items() if name == "backbone.stem" or name.startswith("head."))
    assert first + second + outside == pytest.approx(latency.mean_ms)


def test_nothing_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="expected subnets to draw, found none"):
        architectures_plot(SPACE, [])
