import csv
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ofa_det.arch.detector import DetectorConfig, detector_plan
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space
from ofa_det.latency.features import FEATURES
from ofa_det.latency.pixel2 import (
    errors_of_unseen_detectors,
    pixel2_errors,
    pixel2_model,
    pixel2_published,
    pixel2_runtimes,
)
from ofa_det.latency.postprocessing import DetectionTail, detection_tail
from ofa_det.latency.published_detectors import POSTPROCESS, published_detectors
from ofa_det.latency.published_networks import PUBLISHED_NETWORKS

SHORT_NAMES = {
    "v3L": "mobilenet_v3_large_1.0_224",
    "v3L.75": "mobilenet_v3_large_0.75_224",
    "v3S": "mobilenet_v3_small_1.0_224",
    "v3S.75": "mobilenet_v3_small_0.75_224",
    "v3Lmin": "mobilenet_v3_large_minimalistic_1.0_224",
    "mnasA1": "mnasnet_a1_224",
    "proxyless": "proxylessnas_mobile_224",
    "ofa_p2_25": "ofa_pixel2_25ms",
    "ofa_p2_50": "ofa_pixel2_50ms",
}


def _ms(plan, precision):
    return pixel2_model(precision).predict(plan.layers).mean_ms


def test_left_out_networks_are_predicted_within_the_stated_errors():
    floats, bytes_ = pixel2_errors("float32"), pixel2_errors("uint8")
    classifiers = floats.select(~floats.timed.are_detectors)
    assert classifiers.network_mean < 0.041
    assert classifiers.network_worst < 0.13
    assert classifiers.family_rms < 0.09
    assert bytes_.network_mean < 0.04
    assert bytes_.family_mean < 0.07
    assert bytes_.network_worst < 0.09
    assert bytes_.family_rms < 0.08


def test_once_for_all_networks_are_predicted_from_the_others():
    left_out = pixel2_errors("float32")
    pairs = zip(left_out.timed.families, left_out.by_family, strict=True)
    errors = [abs(error) for family, error in pairs if family == "ofa"]
    assert len(errors) == 2
    assert max(errors) < 0.06


@pytest.mark.parametrize(("precision", "peak"), [("float32", 9.4), ("uint8", 12.5)])
def test_no_kernel_is_faster_than_the_core(precision, peak):
    for runtime in pixel2_runtimes(precision):
        fitted = pixel2_model(precision, runtime).fitted
        for name, cost in zip(FEATURES, fitted.costs, strict=True):
            assert cost > 0
            if name.endswith("_mmacs"):
                assert 1 / (cost * fitted.scales[runtime]) <= peak * (1 + 1e-9)


def test_published_detectors_are_predicted_by_fits_that_have_not_seen_them():
    errors = pixel2_errors("float32")
    detectors = errors.select(errors.timed.are_detectors)
    assert detectors.networks == 7
    assert detectors.network_worst < 0.05
    assert detectors.family_worst < 0.05
    unseen = errors_of_unseen_detectors()
    assert abs(unseen).mean() < 0.04
    # MobileNetV3-Large at half its last stage: the 0.51 G multiply-accumulates that its authors state.
    plans = {detector.name: detector.plan for detector in published_detectors()}
    assert plans["ssdlite_mobilenet_v3_large_halved_320"].macs / 1e9 == pytest.approx(0.51, abs=0.005)
    assert {plan.num_anchors for plan in plans.values()} == {2034}


def test_without_post_processing_every_published_detector_is_too_low():
    model = pixel2_model("float32")
    for detector in published_detectors():
        tail = detection_tail(detector.plan, POSTPROCESS, precision="float32")
        without, complete = (model.predict(detector.plan.layers, t).mean_ms for t in (DetectionTail(), tail))
        assert without < complete
        assert without < detector.pixel2_ms
        assert complete == pytest.approx(detector.pixel2_ms, rel=0.05)


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_large_kernels_are_not_cheaper_for_a_multiply_accumulate(precision):
    fitted = pixel2_model(precision).fitted
    assert min(fitted.kernel_ratios) >= 1
    assert fitted.kernel_ratios[0] == pytest.approx(1.5, abs=0.2)


@pytest.mark.parametrize(
    ("precision", "runtime", "counts"),
    [
        ("uint8", None, "4 published uint8 networks of 2 families on tflite-2019-v3; no detector is published"),
        ("float32", None, "18 published float32 networks of 5 families on tflite-2019-v3, 7 of them SSDLite"),
        ("float32", "xnnpack-2020", "4 published float32 networks of 3 families on xnnpack-2020; no detector"),
    ],
)
def test_an_error_says_what_it_rests_on(precision, runtime, counts):
    errors = pixel2_model(precision, runtime).errors
    assert errors.rests_on.startswith(counts)
    here = pixel2_errors(precision).on(runtime or "tflite-2019-v3")
    # Few networks of a runtime may agree by chance.
    assert errors.network >= 0.999 * np.sqrt(np.nanmean(here.by_family**2))


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_everything_that_a_search_can_add_costs_time(precision):
    space = read_space("ssdlite_mbv3")
    detector = _detector(space)
    for subnet in (space.smallest(), space.sample(random.Random(0))):
        base = _ms(detector_plan(detector, subnet), precision)
        for larger in space.larger_neighbours(subnet):
            assert _ms(detector_plan(detector, larger), precision) > base
    sizes = [_ms(detector_plan(detector, space.smallest(side)), precision) for side in space.resolutions]
    assert all(larger > 1.1 * smaller for smaller, larger in pairwise(sizes))


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_gates_and_hard_swish_cost_time(precision):
    space = read_space("ssdlite_mbv3")
    stages = space.backbone.stages
    variants = (
        stages,
        tuple(replace(stage, squeeze_excite=False) for stage in stages),
        tuple(replace(stage, activation="relu6") for stage in stages),
    )
    full, *simpler = (
        _ms(
            detector_plan(_detector(replace(space, backbone=replace(space.backbone, stages=v))), space.smallest()),
            precision,
        )
        for v in variants
    )
    assert max(simpler) < 0.98 * full


def _detector(space):
    return DetectorConfig.of(space, num_classes=3, anchor_sizes=ssd_anchor_sizes())


def test_the_packaged_table_equals_the_shared_one():
    path = Path(__file__).parents[2] / "../shared/latency/pixel2_published.csv"
    if not path.is_file():
        pytest.skip("no table of published latencies beside the checkout")
    expected = []
    with path.open() as file:
        for row in csv.DictReader(file):
            name = SHORT_NAMES.get(row["network"])
            if name is None:
                version, width, resolution = row["network"].split("_")
                name = f"mobilenet_{version}_{float(width)}_{resolution}"
            plan = PUBLISHED_NETWORKS[name]()
            assert plan.macs / 1e6 == pytest.approx(float(row["MMACs"]), abs=0.051)
            weights = sum(layer.weight_count for layer in plan.layers)
            assert weights / 1e6 == pytest.approx(float(row["Mparams"]), abs=0.0051)
            expected.append((row["precision"], name, float(row["ms_pixel2_1thread_big"])))
    found = []
    for precision in ("float32", "uint8"):
        timed = pixel2_published(precision)
        found += [(precision, *pair) for pair in zip(timed.networks, timed.latencies_ms, strict=True)]
    assert sorted(found) == sorted(expected)
