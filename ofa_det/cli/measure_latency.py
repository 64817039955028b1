"""`ofa-det measure-latency`: time of a `.tflite` file on this computer or on a phone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from ofa_det.cli.command import command
from ofa_det.latency.adb_measurement import measure_on_phone
from ofa_det.latency.host_measurement import measure_on_host
from ofa_det.latency.measurement import MeasuredLatency


@dataclass(frozen=True, kw_only=True)
class MeasureLatencyConfig:
    """What to measure.

    Args:
        model: .tflite file.
        device: host (this computer, by LiteRT) or adb (a phone, by TensorFlow Lite's benchmark_model).
        threads: CPU threads.
        warmup_runs: inferences before the timed ones.
        runs: timed inferences.
        xnnpack: run by XNNPACK what it knows; false takes the built-in kernels.
        per_op: also time each op; adb only.
        cpu_mask: hexadecimal mask of the phone's cores; 10 is the first large core of a Pixel 2.
        benchmark_model: path of TensorFlow Lite's benchmark tool on the phone.
        json: print a JSON object instead of text.
    """

    model: str
    device: Literal["host", "adb"] = "host"
    threads: int = 1
    warmup_runs: int = 5
    runs: int = 50
    xnnpack: bool = True
    per_op: bool = False
    cpu_mask: str = "10"
    benchmark_model: str = "/data/local/tmp/benchmark_model"
    json: bool = False

    def __post_init__(self) -> None:
        if self.threads < 1 or self.runs < 1 or self.warmup_runs < 0:
            raise ValueError(
                "expected threads >= 1, runs >= 1 and warmup_runs >= 0, "
                f"found {self.threads}, {self.runs} and {self.warmup_runs}"
            )
        if self.per_op and self.device == "host":
            raise ValueError("expected --device adb with --per_op, found host; LiteRT for Python has no op profiler")


def run(config: MeasureLatencyConfig) -> None:
    """Measures and prints."""
    if config.device == "host":
        measured = measure_on_host(
            config.model,
            threads=config.threads,
            warmup_runs=config.warmup_runs,
            runs=config.runs,
            xnnpack=config.xnnpack,
        )
    else:
        measured = measure_on_phone(
            config.model,
            threads=config.threads,
            warmup_runs=config.warmup_runs,
            runs=config.runs,
            xnnpack=config.xnnpack,
            per_op=config.per_op,
            cpu_mask=config.cpu_mask,
            benchmark_model=config.benchmark_model,
        )
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


main = command("measure-latency", "Time of a .tflite file on this computer or a phone.", MeasureLatencyConfig, run)
