import json
from pathlib import Path

import pytest

from ofa_det.latency.measure import MeasureLatencyConfig, measure_latency

PEER = Path(__file__).parents[2] / "../shared/peers/coco_ssd_mobilenet_v1_quant.tflite"


def _measure(path, **choices):
    return measure_latency(MeasureLatencyConfig(model=str(path), **choices))


@pytest.mark.parametrize("xnnpack", [True, False])
def test_a_detector_with_post_processing_is_timed(xnnpack):
    if not PEER.is_file():
        pytest.skip("no peer model beside the checkout")
    measured = _measure(PEER, warmup_runs=1, runs=3, xnnpack=xnnpack)
    assert 1 < measured.median_ms < 10_000
    assert measured.runs == 3
    assert ("xnnpack" in measured.runtime) == xnnpack
    value = json.loads(json.dumps(measured.to_json()))
    assert (value["schema_version"], value["mean_ms"]) == (2, measured.mean_ms)


def test_what_is_no_model_is_refused(tmp_path):
    for device in ("host", "adb"):
        with pytest.raises(FileNotFoundError, match=r"none at .*none\.tflite"):
            _measure(tmp_path / "none.tflite", device=device)
    other = tmp_path / "other.tflite"
    other.write_text("weights")
    with pytest.raises(ValueError, match=r"expected a \.tflite that LiteRT runs"):
        _measure(other)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"device": "pixel2"}, "expected a device of host, adb, found 'pixel2'"),
        ({"threads": 0}, "expected threads >= 1, runs >= 1 and warmup_runs >= 0, found 0, 50 and 5"),
        ({"per_op": True}, "expected --device adb with --per_op, found host"),
    ],
)
def test_impossible_choices_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        MeasureLatencyConfig(model="a.tflite", **choices)
