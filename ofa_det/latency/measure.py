"""Time of a `.tflite` file on this computer or on a phone."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ofa_det.latency.android import PHONE_FOLDER, measure_on_phone
from ofa_det.latency.latencies import MeasuredLatency


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
    """

    model: str
    device: Literal["host", "adb"] = "host"
    threads: int = 1
    warmup_runs: int = 5
    runs: int = 50
    xnnpack: bool = True
    per_op: bool = False
    cpu_mask: str = "10"
    benchmark_model: str = f"{PHONE_FOLDER}/benchmark_model"

    def __post_init__(self) -> None:
        if self.device not in ("host", "adb"):
            raise ValueError(f"expected a device of host, adb, found {self.device!r}")
        if self.threads < 1 or self.runs < 1 or self.warmup_runs < 0:
            raise ValueError(
                "expected threads >= 1, runs >= 1 and warmup_runs >= 0, "
                f"found {self.threads}, {self.runs} and {self.warmup_runs}"
            )
        if self.per_op and self.device == "host":
            raise ValueError("expected --device adb with --per_op, found host; LiteRT for Python has no op profiler")


def measure_latency(config: MeasureLatencyConfig) -> MeasuredLatency:
    """Times whole inferences, post-processing included.

    Raises:
        FileNotFoundError: there is no such file, or no adb to reach a phone.
        ValueError: the runtime cannot load or run the file; its message is in the error.
    """
    if not Path(config.model).is_file():
        raise FileNotFoundError(f"expected a .tflite file, found none at {config.model}")
    if config.device == "host":
        return _measure_on_host(config)
    return measure_on_phone(
        config.model,
        threads=config.threads,
        warmup_runs=config.warmup_runs,
        runs=config.runs,
        xnnpack=config.xnnpack,
        per_op=config.per_op,
        cpu_mask=config.cpu_mask,
        benchmark_model=config.benchmark_model,
    )


def _measure_on_host(config: MeasureLatencyConfig) -> MeasuredLatency:
    """Times the file on seeded noise of the inputs' types."""
    resolver = OpResolverType.AUTO if config.xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(config.model, num_threads=config.threads, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        _fill_inputs(interpreter)
        for _ in range(config.warmup_runs):
            interpreter.invoke()
        times_ms = np.array([_timed_run_ms(interpreter) for _ in range(config.runs)])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"expected a .tflite that LiteRT runs, found {config.model}: {error}") from error
    return MeasuredLatency(
        mean_ms=float(times_ms.mean()),
        std_ms=float(times_ms.std()),
        median_ms=float(np.median(times_ms)),
        runs=config.runs,
        device=f"host ({platform.system()} {platform.machine()})",
        runtime=f"litert-{metadata.version('ai-edge-litert')}{' xnnpack' if config.xnnpack else ''}",
        threads=config.threads,
    )


def _fill_inputs(interpreter: Interpreter) -> None:
    rng = np.random.default_rng(0)
    for tensor in interpreter.get_input_details():
        shape, dtype = tensor["shape"], np.dtype(tensor["dtype"])
        if dtype.kind == "f":
            value = rng.uniform(-1, 1, shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            value = rng.integers(max(limits.min, -128), min(limits.max, 255), shape, endpoint=True).astype(dtype)
        interpreter.set_tensor(tensor["index"], value)


def _timed_run_ms(interpreter: Interpreter) -> float:
    start = time.perf_counter()
    interpreter.invoke()
    return (time.perf_counter() - start) * 1e3
