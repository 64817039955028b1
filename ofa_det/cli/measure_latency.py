"""`ofa-det measure-latency`: time of a `.tflite` file on this computer or on a phone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofa_det.cli.command import Printed, command
from ofa_det.latency.latencies import MeasuredLatency
from ofa_det.latency.measure import MeasureLatencyConfig, measure_latencies
from ofa_det.latency.op_table import measured_table


@dataclass(frozen=True, kw_only=True)
class MeasureLatencyOptions(MeasureLatencyConfig):
    """What to measure, and what to write of it.

    Args:
        output: folder for ops.csv and ops.png, a bar chart of where the time goes; with per_op.
    """

    output: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None and not self.per_op:
            raise ValueError("expected --per_op true with --output, found it off; there are no ops to write")


def run(config: MeasureLatencyOptions) -> Printed:
    """Measures, and writes the ops; gives the times, in JSON a list where there are several."""
    found = measure_latencies(config)
    if config.output is not None:
        for measured in found:
            folder = Path(config.output)
            if len(found) > 1:
                kernels = "built_in" if "built-in" in measured.runtime else "xnnpack"
                folder /= f"{kernels}_{measured.threads}"
            measured_table(measured).write(folder)
    values = [measured.to_json() for measured in found]
    text = "\n".join(line for measured in found for line in _lines(measured))
    return Printed(text=text, values=values[0] if len(values) == 1 else values)


def _lines(measured: MeasuredLatency) -> list[str]:
    threads = f"{measured.threads} thread{'s' if measured.threads > 1 else ''}"
    deviation = "" if measured.std_ms is None else f" ± {measured.std_ms:.1f}"
    what = "mean and standard deviation" if measured.median_ms is None else "median and half of the middle half's range"
    beside = "" if measured.median_ms is None else f", mean {measured.mean_ms:.1f}{deviation} ms"
    runs = "unknown number of" if measured.runs is None else measured.runs
    clock = "" if measured.clock == "wall" else "; processor time"
    lines = [
        str(measured),
        f"device {measured.device}, runtime {measured.runtime}, {threads}",
        f"{what} of {runs} runs{beside}; post-processing included where the file has it{clock}",
    ]
    if measured.machine:
        lines.append("; ".join(f"{key} {value}" for key, value in measured.machine.items()))
    if measured.ops:
        total = sum(op.latency_ms for op in measured.ops)
        lines.append(f"ops in order, each timed alone or by the profiler; {total:.2f} ms together:")
        lines += measured_table(measured).lines()
    return lines


main = command("measure-latency", "Time of a .tflite file on this computer or a phone.", MeasureLatencyOptions, run)
