"""Time of a `.tflite` file on this computer or on a phone."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ofa_det.latency.android import PHONE_FOLDER, Phone, PhoneRuns, measure_on_phone
from ofa_det.latency.host import Clock, HostRuns, measure_on_host
from ofa_det.latency.latencies import MeasuredLatency

MEASURED_DEVICES = ("host", "adb")


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
        both_kernels: measure with XNNPACK and without it; two results.
        every_thread_count: measure with 1, 2, ... threads.
        per_op: also time each op: on the host as a file of its own, on a phone by the tool's profiler.
        image: image file to run on, since post-processing depends on what is seen; by default noise. Host only.
        clock: wall time, or cpu, processor time of all threads, which other work disturbs less. Host only.
        cpu_mask: hexadecimal mask of the phone's cores; 10 is the first large core of a Pixel 2.
        benchmark_model: path of TensorFlow Lite's benchmark tool on the phone.
        serial: of the phone, as `adb devices` lists it; needed where there are several.
        timeout_s: seconds that one command on the phone may take.
    """

    model: str
    device: Literal["host", "adb"] = "host"
    threads: int = 1
    warmup_runs: int = 5
    runs: int = 50
    xnnpack: bool = True
    both_kernels: bool = False
    every_thread_count: bool = False
    per_op: bool = False
    image: str | None = None
    clock: Clock = "wall"
    cpu_mask: str = "10"
    benchmark_model: str = f"{PHONE_FOLDER}/benchmark_model"
    serial: str | None = None
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        if self.device not in MEASURED_DEVICES:
            raise ValueError(f"expected a device of {', '.join(MEASURED_DEVICES)}, found {self.device!r}")
        if self.threads < 1 or self.runs < 1 or self.warmup_runs < 0:
            raise ValueError(
                "expected threads >= 1, runs >= 1 and warmup_runs >= 0, "
                f"found {self.threads}, {self.runs} and {self.warmup_runs}"
            )
        if not re.fullmatch(r"(0x)?[0-9a-fA-F]+", self.cpu_mask) or int(self.cpu_mask, 16) == 0:
            raise ValueError(f"expected a hexadecimal cpu_mask of at least one core, found {self.cpu_mask!r}")
        if not self.timeout_s > 0:
            raise ValueError(f"expected timeout_s > 0, found {self.timeout_s}")
        if self.clock not in ("wall", "cpu"):
            raise ValueError(f"expected a clock of wall, cpu, found {self.clock!r}")
        if self.device == "adb" and (self.image is not None or self.clock != "wall"):
            raise ValueError("expected --image and --clock with --device host, found them with adb; leave them out")

    @property
    def variants(self) -> tuple[MeasureLatencyConfig, ...]:
        """One configuration for each result."""
        kernels = (True, False) if self.both_kernels else (self.xnnpack,)
        counts = range(1, self.threads + 1) if self.every_thread_count else (self.threads,)
        single = replace(self, both_kernels=False, every_thread_count=False)
        return tuple(replace(single, xnnpack=xnnpack, threads=count) for xnnpack in kernels for count in counts)


def measure_latencies(config: MeasureLatencyConfig) -> tuple[MeasuredLatency, ...]:
    """Times whole inferences, post-processing included, with every choice of kernels and threads that is asked for.

    Raises:
        FileNotFoundError: there is no such file, or no adb to reach a phone.
        ValueError: the runtime cannot load or run the file; its message is in the error.
    """
    for path in filter(None, (config.model, config.image)):
        if not Path(path).is_file():
            kind = "a .tflite file" if path == config.model else "an image"
            raise FileNotFoundError(f"expected {kind}, found none at {path}")
    if config.device == "adb":
        phone = Phone(serial=config.serial, timeout_s=config.timeout_s)
        return tuple(measure_on_phone(phone, config.model, _phone_runs(variant)) for variant in config.variants)
    content = Path(config.model).read_bytes()
    try:
        return tuple(
            measure_on_host(content, host_runs(variant), per_op=config.per_op, image=config.image)
            for variant in config.variants
        )
    except ValueError as error:
        raise ValueError(f"{config.model}: {error}") from error


def measure_latency(config: MeasureLatencyConfig) -> MeasuredLatency:
    """The first of `measure_latencies`.

    Raises:
        FileNotFoundError: there is no such file, or no adb to reach a phone.
        ValueError: the runtime cannot load or run the file; its message is in the error.
    """
    return measure_latencies(config.variants[0])[0]


def host_runs(config: MeasureLatencyConfig) -> HostRuns:
    """How the host is to be timed."""
    return HostRuns(
        threads=config.threads,
        warmup_runs=config.warmup_runs,
        runs=config.runs,
        xnnpack=config.xnnpack,
        clock=config.clock,
    )


def _phone_runs(config: MeasureLatencyConfig) -> PhoneRuns:
    return PhoneRuns(
        threads=config.threads,
        warmup_runs=config.warmup_runs,
        runs=config.runs,
        xnnpack=config.xnnpack,
        per_op=config.per_op,
        cpu_mask=config.cpu_mask,
        benchmark_model=config.benchmark_model,
    )
