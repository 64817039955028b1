import pytest

from ofa_det.latency.android import parse_op_profile, parse_totals
from ofa_det.latency.measure import MeasureLatencyConfig, measure_latencies, measure_latency

# A phone that notes what it is told and answers like one. Its shell takes the words apart as a phone's does.
ADB = r"""#!/bin/sh
here="$(dirname "$0")"
echo "$@" >> "$here/log"
if [ "$1" = "-s" ]; then shift 2; elif [ -e "$here/two_phones" ]; then
  echo "adb: more than one device/emulator" >&2; exit 1
fi
[ "$1" = "push" ] && { [ -f "$2" ] && touch "$here/pushed"; exit; }
eval "set -- $2"   # the shell of the phone
profile="$here/profile"
csv() {
  echo "node type, first, avg_ms, %, cdf%, mem KB, times called, name"
  echo "CONV_2D, 1, $1, 1%, 1%, 0, 1, conv"
}
case "$1" in
  getprop) case "$2" in ro.product.model) echo "Pixel 2" ;; ro.build.fingerprint) echo "google/walleye:8.1.0" ;; esac ;;
  cat) case "$2" in
         *profile.csv) [ -f "$profile" ] && command cat "$profile" || exit 1 ;;
         *cpu4*governor) echo performance ;;
       esac ;;
  md5sum) echo "0123456789abcdef  $2" ;;
  dumpsys) echo "  temperature: 281" ;;
  rm) rm -f "$profile" ;;
  taskset)
    [ "$#" -ge 7 ] || { echo "usage" >&2; exit 1; }
    case "$3" in
      *missing*) echo "taskset: exec $3: No such file" >&2; exit 127 ;;
      *slow*) exec sleep 30 ;;
    esac
    case "$*" in
      *enable_op_profiling*) [ -e "$here/new_tool" ] || csv 1.5 > "$profile" ;;
      *use_profiler=true*) csv 2.5 > "$profile" ;;
    esac
    [ -e "$here/old_tool" ] && { echo "Average inference timings in us: Warmup: 1, Init: 4, no stats: 35155.5"; exit; }
    echo "count=50 first=35531 curr=35793 min=34171 max=39925 avg=35155.5 std=870"
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
    assert measured.runtime == "benchmark_model-01234567 built-in kernels"
    assert measured.runs == 50
    assert measured.machine == {
        "build": "google/walleye:8.1.0",
        "cores": "mask 10, governor of core 4 performance",
        "temperature_before": "28.1 C",
        "temperature_after": "28.1 C",
        "benchmark_model_md5": "0123456789abcdef",
    }
    assert [(op.name, op.latency_ms) for op in measured.ops] == [("conv", 1.5)]
    log = (phone / "log").read_text().splitlines()
    assert log[0] == f"push {model} /data/local/tmp/ofa_det_model.tflite"
    plain, profiled = (line for line in log if "taskset" in line)
    assert plain.startswith("shell taskset 10 /data/local/tmp/benchmark_model --graph=")
    assert "--num_threads=1 --use_xnnpack=false --warmup_runs=5 --num_runs=50" in plain
    assert "profiling" not in plain
    assert "--enable_op_profiling=true" in profiled
    assert log[log.index(profiled) - 1] == "shell rm -f /data/local/tmp/ofa_det_profile.csv"
    assert log[-1] == "shell rm -f /data/local/tmp/ofa_det_model.tflite /data/local/tmp/ofa_det_profile.csv"


def test_an_old_profile_is_not_taken_for_a_new_one(model, phone):
    (phone / "profile").write_text("node type, avg_ms, name\nCONV_2D, 99, stale\n")
    assert [op.latency_ms for op in _measure(model, per_op=True).ops] == [1.5]
    (phone / "new_tool").touch()
    assert [op.latency_ms for op in _measure(model, per_op=True).ops] == [2.5]


def test_an_old_tool_tells_less(model, phone):
    (phone / "old_tool").touch()
    measured = _measure(model)
    assert (measured.mean_ms, measured.std_ms, measured.runs) == (pytest.approx(35.1555), None, None)
    assert str(measured) == "35.2 ms ± unknown"


def test_with_and_without_xnnpack_are_two_results(model, phone):
    config = MeasureLatencyConfig(model=str(model), device="adb", both_kernels=True, every_thread_count=True, threads=2)
    found = measure_latencies(config)
    assert [(m.runtime.partition(" ")[2], m.threads) for m in found] == [
        ("xnnpack", 1),
        ("xnnpack", 2),
        ("built-in kernels", 1),
        ("built-in kernels", 2),
    ]
    told = [line for line in (phone / "log").read_text().splitlines() if "taskset" in line]
    assert ["--use_xnnpack=true" in line for line in told] == [True, True, False, False]


def test_one_of_several_phones_is_named(model, phone):
    (phone / "two_phones").touch()
    with pytest.raises(ValueError, match="more than one device/emulator; name one with --serial"):
        _measure(model)
    _measure(model, serial="HT7A 1")
    assert "-s HT7A 1 push " in (phone / "log").read_text()


def test_words_reach_the_phone_whole(tmp_path, phone):
    model = tmp_path / "my model; rm -rf $HOME.tflite"
    model.write_bytes(b"")
    _measure(model, benchmark_model="/data/local/tmp/new builds/bench$mark")
    told = [line for line in (phone / "log").read_text().splitlines() if "taskset" in line]
    assert "'/data/local/tmp/new builds/bench$mark' --graph=" in told[0]
    assert (phone / "pushed").exists()


@pytest.mark.usefixtures("phone")
def test_a_phone_that_does_not_answer_is_given_up(model):
    with pytest.raises(ValueError, match=r"expected 'adb shell taskset 10 /slow.* to end within 0\.5 s"):
        _measure(model, benchmark_model="/slow", timeout_s=0.5)


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
