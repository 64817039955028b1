"""Time of a `.tflite` file on an Android phone, by TensorFlow Lite's `benchmark_model` over adb."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ofa_det.latency.benchmark_output import parse_op_profile, parse_totals
from ofa_det.latency.measurement import MeasuredLatency

PHONE_FOLDER: Final = "/data/local/tmp"
_MODEL: Final = f"{PHONE_FOLDER}/ofa_det_model.tflite"
_PROFILE: Final = f"{PHONE_FOLDER}/ofa_det_profile.csv"


def measure_on_phone(
    path: str | Path,
    *,
    threads: int = 1,
    warmup_runs: int = 5,
    runs: int = 50,
    xnnpack: bool = True,
    per_op: bool = False,
    cpu_mask: str = "10",
    benchmark_model: str = f"{PHONE_FOLDER}/benchmark_model",
) -> MeasuredLatency:
    """Pushes the file to the phone and times it there.

    Args:
        path: a `.tflite` file.
        threads: CPU threads.
        warmup_runs: inferences before the timed ones.
        runs: timed inferences, at least; the tool goes on until one second has passed.
        xnnpack: whether XNNPACK runs the ops it knows.
        per_op: time the ops in a second run, since profiling slows the first.
        cpu_mask: hexadecimal mask of the cores to run on, for taskset; "10" is the first large core of a Pixel 2.
        benchmark_model: path of the tool on the phone.

    Raises:
        FileNotFoundError: no such file here, or no adb.
        ValueError: adb or the tool fails; its message is in the error.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected a .tflite file, found none at {path}")
    _adb("push", str(path), _MODEL)
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
