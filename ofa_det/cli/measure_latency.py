"""`ofa-det measure-latency`: time of a `.tflite` file on this computer or on a phone."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ofa_det.cli.command import command
from ofa_det.latency.latencies import MeasuredLatency
from ofa_det.latency.measure import MeasureLatencyConfig, measure_latency


@dataclass(frozen=True, kw_only=True)
class MeasureLatencyOptions(MeasureLatencyConfig):
    """What to measure, and how to print it.

    Args:
        json: print a JSON object instead of text.
    """

    json: bool = False


def run(config: MeasureLatencyOptions) -> None:
    """Measures and prints."""
    measured = measure_latency(config)
    print(json.dumps(measured.to_json(), indent=2) if config.json else "\n".join(_lines(measured)))


def _lines(measured: MeasuredLatency) -> list[str]:
    threads = f"{measured.threads} thread{'s' if measured.threads > 1 else ''}"
    median = "" if measured.median_ms is None else f", median {measured.median_ms:.2f} ms"
    runs = "unknown number of" if measured.runs is None else measured.runs
    lines = [
        str(measured),
        f"device {measured.device}, runtime {measured.runtime}, {threads}",
        f"mean and standard deviation of {runs} runs{median}; post-processing included where the file has it",
    ]
    if measured.ops:
        lines.append("ops in run order, from a second run with profiling:")
        lines += [f"  {op.latency_ms:8.3f} ms  {op.kind:<24}  {op.name}" for op in measured.ops]
    return lines


main = command("measure-latency", "Time of a .tflite file on this computer or a phone.", MeasureLatencyOptions, run)
