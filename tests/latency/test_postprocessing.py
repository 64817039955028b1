from dataclasses import replace

import numpy as np
import pytest
from latency_plans import small_detector

from ofa_det.arch.description import PostProcessConfig
from ofa_det.latency.op_files import detector_file
from ofa_det.latency.postprocessing import (
    HOST_LAW,
    DetectionTail,
    PostprocessingLaw,
    Suppression,
    TailOp,
    detection_tail,
    new_suppression,
)
from ofa_det.latency.postprocessing_timing import suppressions
from ofa_det.latency.published_detectors import published_detectors
from ofa_det.latency.published_networks import mobilenet_v2
from ofa_det.latency.tflite_file import parse_tflite

LAW = PostprocessingLaw(
    measured_on="nowhere",
    copied=1.0,
    quantized=2.0,
    dequantized=3.0,
    activated=10.0,
    op=1000.0,
    anchor=100.0,
    fast_score=4.0,
    regular_score=20.0,
    pair=40.0,
)


def _suppression(**changes):
    values = {"anchors": 1000, "classes": 10, "regular_nms": True, "max_detections": 100, "detections_per_class": 100}
    return Suppression(**{**values, "candidates": 500.0, "counted": True, **changes})


def test_pairs_counted_by_hand():
    # 50 candidates in each class, all kept: each is compared with those behind it.
    assert _suppression().pairs == 10 * (50 * 50 - 50 * 50 / 2)
    # 400 in each: suppression ends when 100 are kept.
    assert _suppression(candidates=4000.0).pairs == 10 * (100 * 400 - 100 * 100 / 2)
    # A class has no more candidates than there are anchors.
    assert _suppression(candidates=20_000.0).pairs == _suppression(candidates=10_000.0).pairs
    # Fast: nearly every anchor has a candidate among its classes.
    assert _suppression(regular_nms=False, candidates=10_000.0).pairs == pytest.approx(100 * 1000 - 5000, rel=1e-3)
    assert _suppression(regular_nms=False, candidates=0.0).pairs == 0


def test_a_tail_is_summed_up_by_hand():
    tail = DetectionTail(
        ops=(TailOp(name="a", kind="concat", elements=5000), TailOp(name="b", kind="sigmoid", elements=300)),
        suppression=_suppression(candidates=0.0),
    )
    ops = (5000 * 1 + 1000) + (300 * 10 + 1000)
    op = 1000 + 1000 * 100 + 10_000 * 20
    assert LAW.tail_ms(tail) == pytest.approx((ops + op) / 1e6)
    fast = replace(tail, suppression=_suppression(candidates=0.0, regular_nms=False))
    assert LAW.tail_ms(tail) - LAW.tail_ms(fast) == pytest.approx(10_000 * (20 - 4) / 1e6)


def test_rates_of_the_op_are_recovered():
    calls = [suppression for suppression, _ in suppressions()]
    found = LAW.with_suppression([(call, LAW.suppression_ms(call)) for call in calls])
    for name in ("anchor", "fast_score", "regular_score", "pair"):
        assert getattr(found, name) == pytest.approx(getattr(LAW, name), rel=1e-6)
    with pytest.raises(ValueError, match="at least 4 timed calls"):
        LAW.with_suppression([(calls[0], 1.0)])
    assert found.error == pytest.approx(0, abs=1e-6)


def test_a_law_knows_how_far_it_is_from_what_it_is_fitted_to():
    calls = [suppression for suppression, _ in suppressions()]
    noisy = [(call, (1 + 0.2 * (-1) ** number) * LAW.suppression_ms(call)) for number, call in enumerate(calls)]
    found = LAW.with_suppression(noisy)
    errors = [found.suppression_ms(call) / ms - 1 for call, ms in noisy]
    assert found.error == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert 0.1 < found.error < 0.3


def test_regular_suppression_costs_what_a_host_measured():
    # 2,034 anchors x 90 classes, 20 to 220 candidates in a class: 0.4 to 6 ms; 10 and more at 30 % of all scores.
    calls = [_suppression(anchors=2034, classes=90, candidates=n) for n in (1000.0, 20_000.0, 55_000.0)]
    low, high, most = map(HOST_LAW.suppression_ms, calls)
    assert 0.3 < low < 0.6 < 5 < high < 8 < 15 < most < 20
    assert HOST_LAW.suppression_ms(replace(calls[2], regular_nms=False)) < 1


def test_expected_candidates_follow_from_threshold_and_anchors():
    usual, low = PostProcessConfig(), PostProcessConfig(score_threshold=0.001)
    assert new_suppression(1000, 20, usual).candidates == 2000
    assert new_suppression(1000, 1, usual).candidates == 1000
    assert new_suppression(1000, 20, low).candidates == 20_000
    assert not new_suppression(1000, 20, usual).counted
    assert LAW.candidates_error_ms(DetectionTail(suppression=new_suppression(1000, 20, usual))) > 0
    assert LAW.candidates_error_ms(DetectionTail(suppression=_suppression())) == 0
    with pytest.raises(ValueError, match="expected candidates >= 0, found -1"):
        DetectionTail(suppression=_suppression()).with_candidates(-1)


def test_a_classifier_has_no_tail():
    assert detection_tail(mobilenet_v2(1.0, 224), PostProcessConfig(), precision="uint8") == DetectionTail()
    assert DetectionTail().with_candidates(5) == DetectionTail()


@pytest.mark.parametrize("precision", ["float32", "uint8"])
@pytest.mark.parametrize("regular_nms", [True, False])
def test_a_file_and_its_plan_have_tails_of_one_cost(precision, regular_nms):
    plan, config = (
        small_detector(),
        PostProcessConfig(regular_nms=regular_nms, max_detections=7, detections_per_class=9),
    )
    planned = detection_tail(plan, config, precision=precision)
    read = parse_tflite(detector_file(plan, config, precision=precision), where="the file").tail
    assert read.suppression == planned.suppression
    assert sorted((op.kind, op.elements) for op in read.ops) == sorted((op.kind, op.elements) for op in planned.ops)
    assert HOST_LAW.tail_ms(read) == pytest.approx(HOST_LAW.tail_ms(planned), rel=1e-12)
    assert planned.suppression.anchors == plan.num_anchors == 3 * (8 * 8 + 4 * 4)


def test_background_columns_of_published_detectors_are_scores_too():
    tail = detection_tail(published_detectors()[0].plan, PostProcessConfig(regular_nms=False), precision="float32")
    assert (tail.suppression.anchors, tail.suppression.classes) == (2034, 91)
