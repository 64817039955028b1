import csv
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ofa_det.arch.detector import DetectorConfig, detector_plan
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.plan import LayerPlan, PlanBuilder
from ofa_det.artefacts.configs import read_space
from ofa_det.latency.features import FEATURES
from ofa_det.latency.pixel2 import pixel2_model, pixel2_published, pixel2_runtimes
from ofa_det.latency.published_networks import PUBLISHED_NETWORKS, mobilenet_v1, mobilenet_v2, mobilenet_v3

PIXEL2_OVER_PIXEL1 = 1.196  # float32, the ratio over classification networks timed on both
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
    floats, bytes_ = pixel2_model("float32").leave_one_out, pixel2_model("uint8").leave_one_out
    assert floats.network_mean < 0.045
    assert floats.network_worst < 0.14
    assert floats.family_rms < 0.10
    assert bytes_.network_mean < 0.04
    assert bytes_.network_worst < 0.09
    assert bytes_.family_rms < 0.08


def test_once_for_all_networks_are_predicted_from_the_others():
    left_out = pixel2_model("float32").leave_one_out
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


# TensorFlow's SSDLite on a Pixel 1, MobileNetV3 paper table 6: none of them took part in the fit.
@pytest.mark.parametrize(
    ("backbone", "last", "taps", "pixel1_ms"),
    [
        (mobilenet_v1(1.0, 320), "12.pointwise", ("10.pointwise", "12.pointwise"), 228),
        (mobilenet_v2(1.0, 320), "last", ("5.0.expand", "last"), 162),
        (mobilenet_v3("large", resolution=320), "last", ("12.expand", "last"), 137),
        (mobilenet_v3("small", resolution=320), "last", ("8.expand", "last"), 52),
    ],
    ids=["v1", "v2", "v3-large", "v3-small"],
)
def test_published_detectors_are_predicted(backbone, last, taps, pixel1_ms):
    predicted_ms = _ms(_ssdlite(backbone, last, taps), "float32")
    assert predicted_ms == pytest.approx(pixel1_ms * PIXEL2_OVER_PIXEL1, rel=0.12)


def _ssdlite(backbone, last, taps):
    builder = PlanBuilder(backbone.resolution)
    for layer in backbone.layers:
        options = {name: getattr(layer, name) for name in ("inputs", "kernel_size", "stride", "activation")}
        builder.append(layer.name, layer.kind, layer.out_channels, **options)
        if layer.name == last:
            break
    levels = list(taps)
    for i, width in enumerate((512, 256, 256, 128)):
        builder.append(f"extra{i}.reduce", "conv", width // 2, activation="relu6")
        builder.append(f"extra{i}.depthwise", "depthwise", kernel_size=3, stride=2, activation="relu6")
        levels.append(builder.append(f"extra{i}.expand", "conv", width, activation="relu6"))
    for i, level in enumerate(levels):
        for values in (4, 91):
            name = f"level{i}.{values}"
            builder.append(f"{name}.depthwise", "depthwise", inputs=(level,), kernel_size=3, activation="relu6")
            builder.append(name, "conv", (3 if i == 0 else 6) * values)
    return LayerPlan(resolution=backbone.resolution, layers=builder.layers)


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
