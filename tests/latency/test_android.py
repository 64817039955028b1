import pytest

from ofa_det.latency.android import parse_op_profile, parse_totals
from ofa_det.latency.measure import MeasureLatencyConfig, measure_latency

# A phone that notes what it is told and answers like one.
ADB = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/log"
case "$*" in
  *getprop*) echo "Pixel 2" ;;
  *"cat "*) echo "node type, first, avg_ms, %, cdf%, mem KB, times called, name"
            echo "CONV_2D, 1.0, 1.5, 100%, 100%, 0, 1, conv" ;;
  *missing_tool*) echo "taskset: exec /missing_tool: No such file" >&2; exit 127 ;;
  *taskset*) echo "count=50 first=35531 curr=35793 min=34171 max=39925 avg=35155.5 std=870"
             echo "Inference timings in us: Init: 1, Inference (avg): 35155.5" >&2 ;;
esac
"""


NEW = """INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if exceeding 150 s.
INFO: count=9 first=67743 curr=65000 min=64000 max=67743 avg=65539 std=700
INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=65531 curr=65793 min=64171 max=69925 avg=65155.5 std=870
INFO: Inference timings in us: Init: 5811, First inference: 67743, Warmup (avg): 65539, Inference (avg): 65155.5
INFO: Memory footprint delta from the start of the tool (MB): init=7.40234 overall=7.83203
"""
OLD = """Running benchmark for 50 iterations
count=50 first=137789 curr=137254 min=137079 max=143416 avg=137722 std=896

Average inference timings in us: Warmup: 146161, Init: 4452, no stats: 137722
"""
RUN_ORDER = "============================== Run Order =============================="
BY_TIME = "============================== Top by Computation Time =============================="
OPS = {"start": ("0.000, ", "0.300, "), "": ("", "")}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"")
    return path


@pytest.fixture
def phone(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "adb").write_text(ADB)
    (tools / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    return tools


def _measure(model, **choices):
    return measure_latency(MeasureLatencyConfig(model=str(model), device="adb", **choices))


def test_a_phone_is_measured(model, phone):
    measured = _measure(model, xnnpack=False, per_op=True)
    assert str(measured) == "35.2 ms ± 0.9 ms"
    assert measured.device == "Pixel 2"
    assert measured.runs == 50
    assert [(op.name, op.latency_ms) for op in measured.ops] == [("conv", 1.5)]
    push, plain, profiled, *_ = (phone / "log").read_text().splitlines()
    assert push == f"push {model} /data/local/tmp/ofa_det_model.tflite"
    assert plain.startswith("shell taskset 10 /data/local/tmp/benchmark_model --graph=")
    assert "--num_threads=1 --use_xnnpack=false --warmup_runs=5 --num_runs=50" in plain
    assert "profiling" not in plain
    assert "--enable_op_profiling=true" in profiled


@pytest.mark.usefixtures("phone")
def test_a_failing_tool_is_quoted(model):
    with pytest.raises(ValueError, match="found: taskset: exec /missing_tool: No such file"):
        _measure(model, benchmark_model="/missing_tool")


def test_without_adb_the_error_says_how_to_mend(model, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match=r"expected adb on the PATH .* install Android's platform-tools"):
        _measure(model)


def _profile(with_start):
    start, (first, second) = ("start, ", OPS["start"]) if with_start else ("", OPS[""])
    header = f"node type, {start}first, avg_ms, %, cdf%, mem KB, times called, name"
    conv = f"CONV_2D, {first}0.310, 0.300, 75.0%, 75.0%, 0.000, 1, [model/stem]:0"
    add = f"ADD, {second}0.110, 0.100, 25.0%, 100.0%, 0.000, 2, [model/add]:1"
    summary = "node type, count, avg_ms, avg %, cdf %, mem KB, times called\nCONV_2D, 1, 0.3, 75%, 75%, 0, 1"
    runs = [RUN_ORDER, header, conv, add, "", BY_TIME, header, add, conv, "", "Number of nodes executed: 2", summary]
    if with_start:
        return "\n".join(runs)
    allocation = "AllocateTensors, 1.356, 1.356, 100.0%, 100.0%, 0.000, 1, AllocateTensors/0"
    initialization = ["Profiling Info for Benchmark Initialization:", RUN_ORDER, header, allocation, ""]
    return "\n".join([*initialization, "Operator-wise Profiling Info for Regular Benchmark Runs:", *runs])


def test_totals_of_both_formats():
    new, old = parse_totals(NEW), parse_totals(OLD)
    assert (new.mean_ms, new.std_ms, new.runs) == pytest.approx((65.1555, 0.87, 50))
    assert (old.mean_ms, old.std_ms, old.runs) == pytest.approx((137.722, 0.896, 50))
    android = parse_totals("Average inference timings in us: Warmup: 91471, Init: 4108, Inference: 80660.1")
    assert android.mean_ms == pytest.approx(80.6601)
    assert android.std_ms is None


def test_large_times_in_scientific_notation():
    assert parse_totals("Inference timings in us: Init: 1, Inference (avg): 1.25e+06").mean_ms == pytest.approx(1250)


@pytest.mark.parametrize("with_start", [True, False])
def test_columns_are_found_by_name(with_start):
    conv, add = parse_op_profile(_profile(with_start))
    assert (conv.kind, conv.name, conv.latency_ms) == ("CONV_2D", "[model/stem]:0", pytest.approx(0.3))
    assert (add.kind, add.latency_ms) == ("ADD", pytest.approx(0.2))  # two calls an image


def test_other_text_is_refused():
    with pytest.raises(ValueError, match="found 'benchmark_model: not found'"):
        parse_totals("benchmark_model: not found\n")
    with pytest.raises(ValueError, match="columns 'node type'"):
        parse_op_profile("cat: no such file")
