"""Time of a `.tflite` file on this computer."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ofa_det.latency.measurement import MeasuredLatency


def measure_on_host(
    path: str | Path, *, threads: int = 1, warmup_runs: int = 5, runs: int = 50, xnnpack: bool = True
) -> MeasuredLatency:
    """Times whole inferences, post-processing included, on seeded noise of the inputs' types.

    Args:
        path: a `.tflite` file.
        threads: CPU threads of the interpreter.
        warmup_runs: inferences before the timed ones.
        runs: timed inferences.
        xnnpack: whether XNNPACK runs the ops it knows, as LiteRT does by default; else the reference kernels do.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the interpreter cannot load or run it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected a .tflite file, found none at {path}")
    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(str(path), num_threads=threads, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        _fill_inputs(interpreter)
        for _ in range(warmup_runs):
            interpreter.invoke()
        times_ms = np.array([_timed_run_ms(interpreter) for _ in range(runs)])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"expected a .tflite that LiteRT runs, found {path}: {error}") from error
    return MeasuredLatency(
        mean_ms=float(times_ms.mean()),
        std_ms=float(times_ms.std()),
        median_ms=float(np.median(times_ms)),
        runs=runs,
        device=f"host ({platform.system()} {platform.machine()})",
        runtime=f"litert-{metadata.version('ai-edge-litert')}{' xnnpack' if xnnpack else ''}",
        threads=threads,
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
