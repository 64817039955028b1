import json

import pytest

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.detector import DetectorConfig, shipped_plan
from ofa_det.arch.plan import PlanBuilder
from ofa_det.artefacts.configs import read_space
from ofa_det.latency.model import LatencyModel, device_names, latency_model
from ofa_det.latency.postprocessing import DetectionTail, detection_tail
from ofa_det.latency.published_networks import mobilenet_v2, mobilenet_v3


@pytest.mark.parametrize("device", device_names())
@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_every_device_has_a_model_of_each_precision(device, precision):
    model: LatencyModel = latency_model(device, precision=precision)
    prediction = model.predict(mobilenet_v3("small").layers)
    for found in (model, prediction):
        assert (found.device, found.precision, found.threads) == (device, precision, 1)
    assert prediction.runtime == model.runtime
    assert 0 < prediction.error_ms < prediction.mean_ms
    assert latency_model(device, precision=precision, runtime=model.runtime).runtime == model.runtime


def test_without_choices_it_is_the_pixel_2_in_uint8():
    model = latency_model()
    assert (model.device, model.runtime, model.precision) == ("pixel2", "tflite-2019-v3", "uint8")


def test_the_prediction_says_what_it_is_and_how_sure():
    plan = mobilenet_v3("small")
    prediction = latency_model().predict(plan.layers)
    assert prediction.mean_ms == pytest.approx(15, rel=0.05)  # published
    assert prediction.error_ms == pytest.approx(0.059 * prediction.mean_ms, rel=0.02)
    assert "4 published uint8 networks of 2 families" in prediction.rests_on
    assert "20 uint8 networks on any runtime" in prediction.error_source
    assert sum(layer.latency_ms for layer in prediction.layers) == pytest.approx(prediction.mean_ms)
    assert [layer.name for layer in prediction.layers] == [layer.name for layer in plan.layers]
    assert (prediction.macs, prediction.parameters) == (plan.macs, plan.parameters)
    assert str(prediction) == f"{prediction.mean_ms:.1f} ms ± {prediction.error_ms:.1f} ms"
    assert prediction.at_most_ms(2) == pytest.approx(prediction.mean_ms + 2 * prediction.error_ms)
    value = json.loads(json.dumps(prediction.to_json()))
    assert (value["schema_version"], value["mean_ms"]) == (3, prediction.mean_ms)
    assert value["layers"][0]["name"] == "stem"


def _detector():
    space = read_space("ssdlite_mbv3_small")
    detector = DetectorConfig.of(space, num_classes=20, anchor_sizes=space.stock_anchors())
    return shipped_plan(detector, 20, space.smallest())


def test_a_detector_costs_its_post_processing_and_is_less_sure():
    plan, model = _detector(), latency_model()
    tail = detection_tail(plan, PostProcessConfig(), precision="uint8")
    bare, whole = model.predict(plan.layers), model.predict(plan.layers, tail)
    assert whole.mean_ms == pytest.approx(bare.mean_ms + whole.postprocessing_ms)
    assert 1 < whole.postprocessing_ms < whole.mean_ms / 2
    assert whole.error_ms / whole.mean_ms > bare.error_ms / bare.mean_ms
    assert [part.kind for part in whole.layers[-2:]] == ["LOGISTIC", "regular NMS"]
    assert any(note.startswith("regular NMS: no published figure") for note in whole.extrapolated)
    fast = detection_tail(plan, PostProcessConfig(regular_nms=False), precision="uint8")
    assert not any("regular" in note for note in model.predict(plan.layers, fast).extrapolated)


def test_counted_candidates_leave_no_doubt_about_them():
    plan, model = _detector(), latency_model()
    config = PostProcessConfig()
    assumed = detection_tail(plan, config, precision="uint8")
    few, many = (detection_tail(plan, config, precision="uint8", candidates=n) for n in (100, 20_000))
    times = [model.estimate(plan.layers, tail) for tail in (few, assumed, many)]
    assert times[0].mean_ms < times[1].mean_ms < times[2].mean_ms
    assert times[0].error_ms < times[1].error_ms
    assert any("candidates" in note for note in model.predict(plan.layers, assumed).extrapolated)
    assert not any("candidates" in note for note in model.predict(plan.layers, few).extrapolated)


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_an_estimate_is_the_prediction_without_its_story(precision):
    plan, model = _detector(), latency_model(precision=precision)
    tail = detection_tail(plan, PostProcessConfig(), precision=precision)
    for layers, tail_ in ((plan.layers, tail), (mobilenet_v2(1.0, 224).layers, DetectionTail())):
        prediction = model.predict(layers, tail_)
        for _ in range(2):  # The second time out of what is known.
            assert model.estimate(layers, tail_) == (prediction.mean_ms, prediction.error_ms)


def test_what_no_timed_network_has_is_named():
    builder = PlanBuilder(64)
    builder.append("stem", "conv", 32, kernel_size=3, stride=2)
    builder.append("spatial", "depthwise", kernel_size=7)
    builder.append("large", "depthwise", kernel_size=5)
    builder.append("up", "resize")
    notes = latency_model().predict(builder.layers).extrapolated
    assert [note.partition(" (")[0] for note in notes] == [
        "depthwise 7x7: in no timed uint8 network",
        "resize: in no timed uint8 network",
        "depthwise 5x5: in 2 timed uint8 networks only",
    ]
    assert "7x7" not in " ".join(latency_model(precision="float32").predict(builder.layers).extrapolated)
    wide = PlanBuilder(640)
    wide.append("stem", "conv", 32, kernel_size=3, stride=2)
    assert latency_model().predict(wide.layers).extrapolated == (
        "conv 3x3 larger than in any timed uint8 network (1 layer, 100% of the network)",
    )
    assert latency_model().predict(mobilenet_v2(1.0, 224).layers).extrapolated == ()


def test_a_manifest_takes_a_prediction():
    plan = _detector()
    tail = detection_tail(plan, PostProcessConfig(), precision="float32")
    prediction = latency_model(precision="float32").predict(plan.layers, tail)
    entry = prediction.entry()
    names = ("mean_ms", "error_ms", "device", "runtime", "precision", "threads", "excluded")
    for name in (*names, "rests_on", "extrapolated", "postprocessing_ms"):
        assert getattr(entry, name) == getattr(prediction, name)
    assert entry.rests_on
    assert entry.postprocessing_ms > 0


def test_runtimes_differ():
    layers = mobilenet_v2(1.0, 224).layers
    times = [
        latency_model(precision="float32", runtime=runtime).predict(layers).mean_ms
        for runtime in ("tflite-2018", "xnnpack-2020")
    ]
    assert times[0] / times[1] == pytest.approx(117 / 53, rel=0.15)  # published


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"device": "pixel9"}, "expected a device of pixel2, found 'pixel9'"),
        ({"precision": "int4"}, "expected a precision of float32, uint8, found 'int4'"),
        ({"runtime": "xnnpack-2020"}, r"uint8 figures \(tflite-2018, tflite-2019, tflite-2019-v3\), found 'xnnpack"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_known(choices, message):
    with pytest.raises(ValueError, match=message):
        latency_model(**choices)


def test_a_pyramid_costs_its_resizes_and_concats():
    def predicted_ms(joined):
        builder = PlanBuilder(64)
        fine = builder.append("fine", "conv", 32, kernel_size=3, stride=2)
        builder.append("coarse", "conv", 32, kernel_size=3, stride=2)
        if joined:
            builder.append("up", "resize")
            builder.append("joined", "concat", inputs=("up", fine))
        parts = latency_model().predict(builder.layers).layers
        return {part.name: part.latency_ms for part in parts}

    plain, pyramid = predicted_ms(joined=False), predicted_ms(joined=True)
    assert sum(pyramid.values()) > sum(plain.values())
    assert pyramid["joined"] > pyramid["up"] > 0
