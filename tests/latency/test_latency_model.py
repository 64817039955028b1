import json

import pytest

from ofa_det.arch.detector import BackboneConfig, DetectorConfig
from ofa_det.arch.layer_plan import LayerPlan, PlanBuilder, detector_plan
from ofa_det.arch.search_space import SearchSpace
from ofa_det.latency.features import FEATURES
from ofa_det.latency.model import pixel2_errors, pixel2_model, pixel2_runtimes
from ofa_det.latency.published_latencies import pixel2_published
from ofa_det.latency.published_networks import mobilenet_v1, mobilenet_v2, mobilenet_v3

PIXEL2_OVER_PIXEL1 = 1.196  # float32, the ratio over classification networks timed on both


def _ms(plan, **choices):
    return pixel2_model(**choices).predict(plan.layers).mean_ms


def test_left_out_networks_are_predicted_within_the_stated_errors():
    floats, bytes_ = pixel2_model("float32").leave_one_out, pixel2_model("uint8").leave_one_out
    assert floats.network_mean < 0.045
    assert floats.network_worst < 0.14
    assert floats.family_rms < 0.10
    assert bytes_.network_mean < 0.04
    assert bytes_.network_worst < 0.09
    assert bytes_.family_rms < 0.08


def test_once_for_all_networks_are_predicted_from_the_others():
    timed, (_, by_family) = pixel2_published("float32"), pixel2_errors("float32")
    errors = [abs(error) for family, error in zip(timed.families, by_family, strict=True) if family == "ofa"]
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
    predicted_ms = _ms(_ssdlite(backbone, last, taps), precision="float32")
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
    return LayerPlan(resolution=backbone.resolution, layers=tuple(builder.layers))


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_everything_that_a_search_can_add_costs_time(precision):
    detector, space = DetectorConfig(num_classes=3), SearchSpace()
    smallest = _ms(detector_plan(detector, space.smallest()), precision=precision)
    for bigger in (
        space.smallest(resolution=224),
        SearchSpace(depths=(3,)).smallest(),
        SearchSpace(kernel_sizes=(5,)).smallest(),
        SearchSpace(expand_ratios=(4,)).smallest(),
    ):
        assert _ms(detector_plan(detector, bigger), precision=precision) > 1.02 * smallest
    for simpler in (BackboneConfig(hswish=False), BackboneConfig(squeeze_excite=False)):
        plan = detector_plan(DetectorConfig(num_classes=3, backbone=simpler), space.smallest())
        assert _ms(plan, precision=precision) < 0.98 * smallest


def test_the_prediction_says_what_it_is_and_how_sure():
    plan = mobilenet_v3("small")
    prediction = pixel2_model().predict(plan.layers)
    assert (prediction.runtime, prediction.precision, prediction.threads) == ("tflite-2019-v3", "uint8", 1)
    assert prediction.mean_ms == pytest.approx(15, rel=0.05)  # published
    assert prediction.error_ms == prediction.mean_ms * prediction.leave_one_out.family_rms
    assert sum(layer.latency_ms for layer in prediction.layers) == pytest.approx(prediction.mean_ms)
    assert prediction.macs == plan.macs
    assert "PostProcess" in prediction.excluded
    assert str(prediction) == f"{prediction.mean_ms:.1f} ms ± {prediction.error_ms:.1f} ms"
    assert json.loads(json.dumps(prediction.to_json()))["schema_version"] == 1


def test_runtimes_differ():
    plan = mobilenet_v2(1.0, 224)
    times = [_ms(plan, precision="float32", runtime=runtime) for runtime in ("tflite-2018", "xnnpack-2020")]
    assert times[0] / times[1] == pytest.approx(117 / 53, rel=0.15)


def test_an_unpublished_runtime_is_refused():
    with pytest.raises(ValueError, match=r"uint8 figures \(tflite-2018, tflite-2019, tflite-2019-v3\), found 'xnnpack"):
        pixel2_model("uint8", "xnnpack-2020")
    with pytest.raises(ValueError, match="expected a precision of float32, uint8, found 'int4'"):
        pixel2_model("int4")
