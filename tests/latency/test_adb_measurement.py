import pytest

from ofa_det.latency.adb_measurement import measure_on_phone

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


def test_a_phone_is_measured(model, phone):
    measured = measure_on_phone(model, xnnpack=False, per_op=True, runs=50)
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
        measure_on_phone(model, benchmark_model="/missing_tool")


def test_without_adb_the_error_says_how_to_mend(model, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match=r"expected adb on the PATH .* install Android's platform-tools"):
        measure_on_phone(model)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.tflite"):
        measure_on_phone(tmp_path / "none.tflite")
