"""Time of a `.tflite` file on this computer or on a phone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ofa_det.latency.android import PHONE_FOLDER, measure_on_phone
from ofa_det.latency.host import Clock, measure_on_host
from ofa_det.latency.latencies import MeasuredLatency
from ofa_det.latency.measuring import MeasuringDevice, check_measuring, chosen_phone, host_runs, phone_runs


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
    device: MeasuringDevice = "host"
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
        check_measuring(self)
        if self.device == "adb" and self.image is not None:
            raise ValueError("expected --image with --device host, found it with adb; leave it out")

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
        phone = chosen_phone(config)
        return tuple(
            measure_on_phone(phone, config.model, phone_runs(variant, per_op=config.per_op))
            for variant in config.variants
        )
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
