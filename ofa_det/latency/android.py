"""Time of a `.tflite` file on an Android phone, by TensorFlow Lite's `benchmark_model` over adb."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ofa_det.latency.latencies import MeasuredLatency, OpTiming

PHONE_FOLDER: Final = "/data/local/tmp"
_MODEL: Final = f"{PHONE_FOLDER}/ofa_det_model.tflite"
_PROFILE: Final = f"{PHONE_FOLDER}/ofa_det_profile.csv"

_NUMBER: Final = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
# "Inference timings in us: Init: 5811, ..., Inference (avg): 65155.5" since 2020; before it "Average inference timings
# in us: Warmup: 91471, Init: 4108, Inference: 80660.1", and "no stats: 80660.1" in 2018 and 2019.
_TOTAL: Final = re.compile(rf"nference timings in us:.*(?:Inference \(avg\)|Inference|no stats): {_NUMBER}")
# "count=520 first=2531 curr=2793 min=1171 max=9925 avg=1885.74 std=870", once for the warm-up and once for the runs.
_RUNS: Final = re.compile(rf"count=(\d+) .*avg={_NUMBER} std={_NUMBER}")
_RUNS_TITLE: Final = "Profiling Info for Regular Benchmark Runs:"


def measure_on_phone(
    path: str,
    *,
    threads: int,
    warmup_runs: int,
    runs: int,
    xnnpack: bool,
    per_op: bool,
    cpu_mask: str,
    benchmark_model: str,
) -> MeasuredLatency:
    """Pushes the file to the phone and times it there.

    Args:
        path: a `.tflite` file.
        threads: CPU threads.
        warmup_runs: inferences before the timed ones.
        runs: timed inferences, at least; the tool goes on until one second has passed.
        xnnpack: whether XNNPACK runs the ops it knows.
        per_op: time the ops in a second run, since profiling slows the first.
        cpu_mask: hexadecimal mask of the cores to run on, for taskset.
        benchmark_model: path of the tool on the phone.

    Raises:
        FileNotFoundError: no adb here.
        ValueError: adb or the tool fails; its message is in the error.
    """
    _adb("push", path, _MODEL)
    command = [
        *("taskset", cpu_mask, benchmark_model, f"--graph={_MODEL}", f"--num_threads={threads}"),
        *(f"--use_xnnpack={str(xnnpack).lower()}", f"--warmup_runs={warmup_runs}", f"--num_runs={runs}"),
    ]
    totals = parse_totals(_adb("shell", *command))
    profile = ""
    if per_op:
        _adb("shell", *command, "--enable_op_profiling=true", f"--profiling_output_csv_file={_PROFILE}")
        profile = _adb("shell", "cat", _PROFILE)
    return MeasuredLatency(
        mean_ms=totals.mean_ms,
        std_ms=totals.std_ms,
        median_ms=None,
        runs=totals.runs,
        device=_adb("shell", "getprop", "ro.product.model").strip(),
        runtime=f"benchmark_model{' xnnpack' if xnnpack else ''}",
        threads=threads,
        ops=parse_op_profile(profile) if per_op else (),
    )


@dataclass(frozen=True, kw_only=True)
class BenchmarkTotals:
    """Latency of one image; standard deviation and number of runs are None in output without them."""

    mean_ms: float
    std_ms: float | None
    runs: int | None


def parse_totals(output: str) -> BenchmarkTotals:
    """Finds the latency in the output of `benchmark_model`, of any version since 2018.

    Raises:
        ValueError: no line with timings.
    """
    totals = _TOTAL.findall(output)
    if not totals:
        tail = " ".join(output.split())[-200:]
        raise ValueError(f"expected a line 'Inference timings in us: ...' from benchmark_model, found {tail!r}")
    runs = _RUNS.findall(output)
    return BenchmarkTotals(
        mean_ms=float(totals[-1]) / 1e3,
        std_ms=float(runs[-1][2]) / 1e3 if runs else None,
        runs=int(runs[-1][0]) if runs else None,
    )


def parse_op_profile(profile: str) -> tuple[OpTiming, ...]:
    """Reads the ops, in run order, of a CSV of `--profiling_output_csv_file`.

    Columns are found by name: `start` came and went between versions. Ops that a delegate took over are one op.

    Raises:
        ValueError: no table of ops.
    """
    # A table of the initialization may come first; 2019's files have neither it nor the title.
    lines = iter(profile.rpartition(_RUNS_TITLE)[2].splitlines())
    for line in lines:
        columns = [column.strip() for column in line.split(",")]
        if {"node type", "avg_ms", "name"}.issubset(columns):
            break
    else:
        raise ValueError(
            "expected a CSV with columns 'node type', 'avg_ms' and 'name', found none; is it op profiling?"
        )
    ops = []
    for row in csv.reader(lines, skipinitialspace=True):
        if len(row) != len(columns):
            break  # A blank line or the title of the next table, which has the same ops in another order.
        values = dict(zip(columns, row, strict=True))
        calls = int(values.get("times called", 1))
        ops.append(OpTiming(name=values["name"], kind=values["node type"], latency_ms=float(values["avg_ms"]) * calls))
    return tuple(ops)


def _adb(*arguments: str) -> str:
    """Runs adb; the tool logs to either stream, depending on its version."""
    adb = shutil.which("adb")
    if adb is None:
        raise FileNotFoundError(
            "expected adb on the PATH to reach a phone, found none; install Android's platform-tools, or use "
            "--device host"
        )
    command: Sequence[str] = (adb, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no shell here
    output = done.stdout + done.stderr
    if done.returncode != 0:
        message = " ".join(output.split())[-300:]
        raise ValueError(f"expected 'adb {' '.join(arguments[:4])} ...' to succeed, found: {message}")
    return output
