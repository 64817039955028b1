"""Time of a `.tflite` file on this computer, by LiteRT: of the whole, and of each op alone."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from ofa_det.artefacts.tflite_content import open_interpreter
from ofa_det.latency.latencies import MeasuredLatency, OpTiming
from ofa_det.latency.op_extraction import extract_ops

Array = npt.NDArray[Any]
Clock = Literal["wall", "cpu"]

_TIMERS = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


@dataclass(frozen=True, kw_only=True)
class HostRuns:
    """How often, and with what, a file is timed.

    Args:
        threads: CPU threads.
        warmup_runs: inferences before the timed ones.
        runs: timed inferences.
        xnnpack: run by XNNPACK what it knows; false takes the built-in kernels.
        clock: wall time, or processor time of all threads, which other work on the machine disturbs less.
    """

    threads: int = 1
    warmup_runs: int = 5
    runs: int = 50
    xnnpack: bool = True
    clock: Clock = "wall"

    @property
    def runtime(self) -> str:
        """Name and version of what runs the file; figures of different ones are not comparable."""
        kernels = "xnnpack" if self.xnnpack else "built-in kernels"
        return f"litert-{metadata.version('ai-edge-litert')} {kernels}"


def host_name() -> str:
    """This computer, in words."""
    return f"host ({platform.system()} {platform.machine()})"


def host_machine() -> Mapping[str, str]:
    """What else decides how fast this computer is, as far as it can be read."""
    found = {"processor": _processor(), "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")}
    found["temperature_c"] = _temperature(_read("/sys/class/thermal/thermal_zone0/temp"))
    found["system"] = f"{platform.system()} {platform.release()}"
    return {key: value for key, value in found.items() if value}


def measure_on_host(
    content: bytes, runs: HostRuns, *, per_op: bool = False, image: str | None = None
) -> MeasuredLatency:
    """Times a file on an image, or on seeded noise.

    Args:
        content: the flatbuffer.
        runs: how often and with what.
        per_op: also time each op as a file of its own, on what it reads in the whole network.
        image: image file for the first input; what post-processing costs depends on what is seen.

    Raises:
        ValueError: the runtime cannot load or run the file; its message is in the error.
    """
    try:
        interpreter = _loaded(content, runs)
        inputs = _inputs(interpreter, image)
        times_ms = _times_ms(interpreter, inputs, runs)
        ops = tuple(_timed_ops(content, inputs, runs)) if per_op else ()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"expected a .tflite that LiteRT runs, found: {error}") from error
    return MeasuredLatency(
        mean_ms=float(times_ms.mean()),
        std_ms=float(times_ms.std()),
        median_ms=float(np.median(times_ms)),
        spread_ms=_spread(times_ms),
        runs=runs.runs,
        device=host_name(),
        runtime=runs.runtime,
        threads=runs.threads,
        clock=runs.clock,
        machine=host_machine(),
        ops=ops,
    )


def median_ms(content: bytes, runs: HostRuns) -> float:
    """The median time of a file on seeded noise."""
    interpreter = _loaded(content, runs)
    return float(np.median(_times_ms(interpreter, _inputs(interpreter, None), runs)))


def _timed_ops(content: bytes, inputs: Sequence[Array], runs: HostRuns) -> Iterator[OpTiming]:
    """Each op on what it reads in the whole network: the values decide how much suppression has to do."""
    whole = _loaded(content, runs, keep_all=True)
    _set_inputs(whole, inputs)
    whole.invoke()
    for op in extract_ops(content):
        if not op.inputs:
            continue  # Done once, when the file is loaded.
        interpreter = _loaded(op.content, runs)
        times_ms = _times_ms(interpreter, [whole.get_tensor(tensor) for tensor in op.inputs], runs)
        yield OpTiming(
            name=op.output,
            kind=op.kind,
            latency_ms=float(np.median(times_ms)),
            spread_ms=_spread(times_ms),
            index=op.index,
        )


def _loaded(content: bytes, runs: HostRuns, *, keep_all: bool = False) -> Interpreter:
    return open_interpreter(content, threads=runs.threads, delegates=runs.xnnpack, keep_all=keep_all)


def _times_ms(interpreter: Interpreter, inputs: Sequence[Array], runs: HostRuns) -> npt.NDArray[np.float64]:
    _set_inputs(interpreter, inputs)
    for _ in range(runs.warmup_runs):
        interpreter.invoke()
    now = _TIMERS[runs.clock]
    times = []
    for _ in range(runs.runs):
        start = now()
        interpreter.invoke()
        times.append(now() - start)
    return np.array(times) / 1e6


def _set_inputs(interpreter: Interpreter, inputs: Sequence[Array]) -> None:
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)


def _inputs(interpreter: Interpreter, image: str | None) -> list[Array]:
    """The image in the first input and seeded noise of its type in every other."""
    rng = np.random.default_rng(0)
    values: list[Array] = []
    for detail in interpreter.get_input_details():
        shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
        if image is not None and not values:
            values.append(_pixels(image, shape, dtype))
        elif dtype.kind == "f":
            values.append(rng.uniform(-0.5, 0.5, shape).astype(dtype))  # as benchmark_model draws it
        else:
            limits = np.iinfo(dtype)
            low, high = max(limits.min, -128), min(limits.max, 255)
            values.append(rng.integers(low, high, shape, endpoint=True).astype(dtype))
    return values


def _pixels(image: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Stretched to the input; floats from -1 to 1, int8 as bytes less 128."""
    if len(shape) != 4 or shape[3] != 3:
        raise ValueError(f"an input (1, H, W, 3) is needed for --image, there is {shape}")
    with Image.open(image) as opened:
        pixels = np.asarray(opened.convert("RGB").resize((shape[2], shape[1]), Image.Resampling.BILINEAR))[None]
    if dtype.kind == "f":
        return (pixels.astype(dtype) - 128) / 128
    return pixels if dtype == np.uint8 else (pixels.astype(np.int16) - 128).astype(dtype)


def _spread(times_ms: npt.NDArray[np.float64]) -> float:
    """Half of the range that holds the middle half of the runs."""
    low, high = np.percentile(times_ms, [25, 75])
    return float(high - low) / 2


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _temperature(text: str) -> str:
    return f"{int(text) / 1000:.1f}" if text.isdigit() else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
