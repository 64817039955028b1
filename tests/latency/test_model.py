import json

import pytest

from ofa_det.arch.plan import PlanBuilder
from ofa_det.latency.model import LatencyModel, device_names, latency_model
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
    assert prediction.error_ms == pytest.approx(0.076 * prediction.mean_ms, rel=0.01)  # docs/results.md
    assert "7.6% root mean square" in prediction.error_source
    assert sum(layer.latency_ms for layer in prediction.layers) == pytest.approx(prediction.mean_ms)
    assert [layer.name for layer in prediction.layers] == [layer.name for layer in plan.layers]
    assert (prediction.macs, prediction.parameters) == (plan.macs, plan.parameters)
    assert str(prediction) == f"{prediction.mean_ms:.1f} ms ± {prediction.error_ms:.1f} ms"
    value = json.loads(json.dumps(prediction.to_json()))
    assert (value["schema_version"], value["mean_ms"]) == (2, prediction.mean_ms)
    assert value["layers"][0]["name"] == "stem"


def test_a_manifest_takes_a_prediction():
    prediction = latency_model(precision="float32").predict(mobilenet_v3("small").layers)
    entry = prediction.entry()
    for name in ("mean_ms", "error_ms", "device", "runtime", "precision", "threads", "excluded"):
        assert getattr(entry, name) == getattr(prediction, name)
    assert "PostProcess" in entry.excluded


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
