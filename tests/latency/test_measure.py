import json
from pathlib import Path

import pytest
from latency_plans import small_detector
from PIL import Image

from ofa_det.arch.description import PostProcessConfig
from ofa_det.latency.measure import MeasureLatencyConfig, measure_latencies, measure_latency
from ofa_det.latency.model import latency_model
from ofa_det.latency.op_files import detector_file
from ofa_det.latency.op_table import compared_table
from ofa_det.latency.tflite_file import read_tflite

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
    assert measured.runtime.endswith("xnnpack" if xnnpack else "built-in kernels")
    value = json.loads(json.dumps(measured.to_json()))
    assert (value["schema_version"], value["mean_ms"]) == (3, measured.mean_ms)


@pytest.fixture(scope="module")
def plan():
    return small_detector()


@pytest.fixture
def model(plan, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(detector_file(plan, PostProcessConfig(), precision="uint8"))
    return path


def test_every_op_is_timed_alone(model, plan):
    measured = _measure(model, warmup_runs=0, runs=3, per_op=True, clock="cpu")
    network = read_tflite(model)
    assert [op.index for op in measured.ops] == list(range(len(network.layer_of_op)))
    assert [op.kind for op in measured.ops[-3:]] == ["CONCATENATION", "LOGISTIC", "TFLite_Detection_PostProcess"]
    assert all(op.latency_ms >= 0 and op.spread_ms >= 0 for op in measured.ops)
    assert measured.clock == "cpu"
    table = compared_table(latency_model().predict(network.layers, network.tail), network.layer_of_op, (measured,))
    # Every op has found its layer, or its place behind them.
    assert len(table.rows) == len(network.layers) + len(network.tail.ops) + 1
    assert all(None not in row.times_ms for row in table.rows)
    assert table.totals_ms()[1] == pytest.approx(sum(op.latency_ms for op in measured.ops))


def test_each_choice_of_kernels_and_threads_is_a_result(model):
    config = MeasureLatencyConfig(
        model=str(model), runs=1, warmup_runs=0, threads=2, both_kernels=True, every_thread_count=True
    )
    found = [(measured.runtime.split(" ", 1)[1], measured.threads) for measured in measure_latencies(config)]
    assert found == [(kernels, n) for kernels in ("xnnpack", "built-in kernels") for n in (1, 2)]


def test_an_image_may_be_looked_at(model, tmp_path):
    Image.new("RGB", (50, 40), (10, 200, 30)).save(tmp_path / "a.png")
    assert _measure(model, runs=1, image=str(tmp_path / "a.png")).runs == 1
    with pytest.raises(FileNotFoundError, match="expected an image, found none at"):
        _measure(model, image=str(tmp_path / "none.png"))


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
        ({"cpu_mask": "0"}, "expected a hexadecimal cpu_mask of at least one core, found '0'"),
        ({"cpu_mask": "10; reboot"}, "expected a hexadecimal cpu_mask"),
        ({"timeout_s": 0}, "expected timeout_s > 0"),
        ({"clock": "sun"}, "expected a clock of wall, cpu"),
        ({"device": "adb", "clock": "cpu"}, "expected --clock with --device host, found cpu with adb; leave it out"),
        ({"device": "adb", "image": "a.jpg"}, "expected --image with --device host, found it with adb; leave it out"),
    ],
)
def test_impossible_choices_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        MeasureLatencyConfig(model="a.tflite", **choices)
