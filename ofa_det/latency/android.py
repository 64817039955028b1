"""Time of a `.tflite` file on an Android phone, by TensorFlow Lite's `benchmark_model` over adb."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ofa_det.latency.latencies import MeasuredLatency, OpTiming

PHONE_FOLDER: Final = "/data/local/tmp"
_MODEL: Final = f"{PHONE_FOLDER}/ofa_det_model.tflite"
_PROFILE: Final = f"{PHONE_FOLDER}/ofa_det_profile.csv"
# The profiler's switch: since 2024 use_profiler, before it enable_op_profiling.
_PROFILER_SWITCHES: Final = ("--enable_op_profiling=true", "--use_profiler=true")

_NUMBER: Final = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
# "Inference timings in us: Init: 5811, ..., Inference (avg): 65155.5" since 2020; before it "Average inference timings
# in us: Warmup: 91471, Init: 4108, Inference: 80660.1", and "no stats: 80660.1" in 2018 and 2019.
_TOTAL: Final = re.compile(rf"nference timings in us:.*(?:Inference \(avg\)|Inference|no stats): {_NUMBER}")
# "count=520 first=2531 curr=2793 min=1171 max=9925 avg=1885.74 std=870", once for the warm-up and once for the runs.
_RUNS: Final = re.compile(rf"count=(\d+) .*avg={_NUMBER} std={_NUMBER}")
_RUNS_TITLE: Final = "Profiling Info for Regular Benchmark Runs:"


@dataclass(frozen=True, kw_only=True)
class PhoneRuns:
    """How often, and how, a file is timed.

    Args:
        threads: CPU threads.
        warmup_runs: inferences before the timed ones.
        runs: timed inferences, at least; the tool goes on until one second has passed.
        xnnpack: whether XNNPACK runs the ops it knows.
        per_op: time the ops in a second run, since profiling slows the first.
        cpu_mask: hexadecimal mask of the cores to run on, for taskset.
        benchmark_model: path of the tool on the phone.
    """

    threads: int
    warmup_runs: int
    runs: int
    xnnpack: bool
    per_op: bool
    cpu_mask: str
    benchmark_model: str

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command on the phone."""
        return (
            *("taskset", self.cpu_mask, self.benchmark_model, f"--graph={_MODEL}", f"--num_threads={self.threads}"),
            f"--use_xnnpack={str(self.xnnpack).lower()}",
            *(f"--warmup_runs={self.warmup_runs}", f"--num_runs={self.runs}"),
        )


@dataclass(frozen=True, kw_only=True)
class Phone:
    """A phone that adb reaches.

    Args:
        serial: as `adb devices` lists it; None where there is one phone.
        timeout_s: seconds that one command may take.
    """

    serial: str | None = None
    timeout_s: float = 300.0

    def push(self, path: str, target: str) -> None:
        """Copies a file to the phone."""
        self._adb("push", path, target)

    def shell(self, *words: str) -> str:
        """Runs a command on the phone; adb hands its words to a shell there, so they are quoted."""
        return self._adb("shell", " ".join(map(shlex.quote, words)))

    def read(self, *words: str) -> str:
        """What a command prints on the phone, without the spaces around it; nothing if it fails."""
        try:
            return self.shell(*words).strip()
        except ValueError:
            return ""

    def _adb(self, *arguments: str) -> str:
        """Runs adb; the tool logs to either stream, depending on its version.

        Raises:
            FileNotFoundError: no adb here.
            ValueError: adb or the tool fails, or does not end in time.
        """
        adb = shutil.which("adb")
        if adb is None:
            raise FileNotFoundError(
                "expected adb on the PATH to reach a phone, found none; install Android's platform-tools, or use "
                "--device host"
            )
        chosen = () if self.serial is None else ("-s", self.serial)
        shown = f"adb {' '.join((*chosen, *arguments))}"[:160]
        try:
            done = subprocess.run(  # noqa: S603  # no shell here
                (adb, *chosen, *arguments), capture_output=True, text=True, check=False, timeout=self.timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(
                f"expected '{shown}' to end within {self.timeout_s:g} s, found it running; is the phone awake? Raise "
                "--timeout_s"
            ) from error
        output = done.stdout + done.stderr
        if done.returncode != 0:
            message = " ".join(output.split())[-300:]
            mend = "; name one with --serial" if "more than one device" in message else ""
            raise ValueError(f"expected '{shown}' to succeed, found: {message}{mend}")
        return output


def measure_on_phone(phone: Phone, path: str, runs: PhoneRuns) -> MeasuredLatency:
    """Pushes the file to the phone and times it there.

    Args:
        phone: where.
        path: a `.tflite` file.
        runs: how.

    Raises:
        FileNotFoundError: no adb here.
        ValueError: adb or the tool fails; its message is in the error.
    """
    phone.push(path, _MODEL)
    try:
        machine = dict(_machine(phone, runs))
        totals = parse_totals(phone.shell(*runs.command))
        ops = _profiled(phone, runs) if runs.per_op else ()
        machine["temperature_after"] = _temperature(phone)
    finally:
        phone.read("rm", "-f", _MODEL, _PROFILE)
    tool = machine.get("benchmark_model_md5", "")[:8]
    return MeasuredLatency(
        mean_ms=totals.mean_ms,
        std_ms=totals.std_ms,
        median_ms=None,
        runs=totals.runs,
        device=machine.pop("model", "") or "phone",
        # Another build of the tool is another runtime.
        runtime=f"benchmark_model{f'-{tool}' if tool else ''} {'xnnpack' if runs.xnnpack else 'built-in kernels'}",
        threads=runs.threads,
        machine={key: value for key, value in machine.items() if value},
        ops=ops,
    )


def _profiled(phone: Phone, runs: PhoneRuns) -> tuple[OpTiming, ...]:
    """The ops, from a run that writes a profile; a profile of an earlier run must not be taken for it."""
    for switch in _PROFILER_SWITCHES:
        phone.shell("rm", "-f", _PROFILE)
        phone.shell(*runs.command, switch, f"--profiling_output_csv_file={_PROFILE}")
        if profile := phone.read("cat", _PROFILE):
            return parse_op_profile(profile)
    raise ValueError(
        f"expected a profile from {runs.benchmark_model} with {' or '.join(_PROFILER_SWITCHES)}, found none; measure "
        "without --per_op, or take another build of the tool"
    )


def _machine(phone: Phone, runs: PhoneRuns) -> Mapping[str, str]:
    """What else decides how fast the phone is."""
    mask = int(runs.cpu_mask, 16)
    core = (mask & -mask).bit_length() - 1
    folder = f"/sys/devices/system/cpu/cpu{core}/cpufreq"
    return {
        "model": phone.read("getprop", "ro.product.model"),
        "build": phone.read("getprop", "ro.build.fingerprint"),
        "chip": phone.read("getprop", "ro.board.platform"),
        "cores": f"mask {runs.cpu_mask}, governor of core {core} {phone.read('cat', f'{folder}/scaling_governor')}",
        "max_khz": phone.read("cat", f"{folder}/scaling_max_freq"),
        "temperature_before": _temperature(phone),
        "benchmark_model_md5": (phone.read("md5sum", runs.benchmark_model).split() or [""])[0],
    }


def _temperature(phone: Phone) -> str:
    """Of the battery, in tenths of a degree Celsius: the one sensor that every phone lets a shell read."""
    found = re.search(r"temperature: (\d+)", phone.read("dumpsys", "battery"))
    return f"{int(found[1]) / 10:.1f} C" if found else ""


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
