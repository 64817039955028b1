"""What TensorFlow Lite's `benchmark_model` prints, of any version since 2018."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import Final

from ofa_det.latency.measurement import OpTiming

_NUMBER: Final = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
# "Inference timings in us: Init: 5811, ..., Inference (avg): 65155.5" since 2020; before it "Average inference timings
# in us: Warmup: 91471, Init: 4108, Inference: 80660.1", and "no stats: 80660.1" in 2018 and 2019.
_TOTAL: Final = re.compile(rf"nference timings in us:.*(?:Inference \(avg\)|Inference|no stats): {_NUMBER}")
# "count=520 first=2531 curr=2793 min=1171 max=9925 avg=1885.74 std=870", once for the warm-up and once for the runs.
_RUNS: Final = re.compile(rf"count=(\d+) .*avg={_NUMBER} std={_NUMBER}")
_RUNS_TITLE: Final = "Profiling Info for Regular Benchmark Runs:"


@dataclass(frozen=True, kw_only=True)
class BenchmarkTotals:
    """Latency of one image; standard deviation and number of runs are None in output without them."""

    mean_ms: float
    std_ms: float | None
    runs: int | None


def parse_totals(output: str) -> BenchmarkTotals:
    """Finds the latency in the output of `benchmark_model`.

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
