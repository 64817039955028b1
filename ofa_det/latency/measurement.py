"""A measured latency, whatever it was measured on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class OpTiming:
    """Time of one op of the graph, per image."""

    name: str
    kind: str
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class MeasuredLatency:
    """Latency of one image, over repeated runs.

    Args:
        mean_ms: mean over the runs.
        std_ms: standard deviation of one run, not of the mean; None if the tool did not tell.
        median_ms: median over the runs; None if the tool did not tell.
        runs: number of timed runs; None if the tool did not tell.
        device, runtime, threads: what was measured.
        ops: time of each op, from a run of its own with profiling on; empty without profiling.
    """

    mean_ms: float
    std_ms: float | None
    median_ms: float | None
    runs: int | None
    device: str
    runtime: str
    threads: int
    ops: tuple[OpTiming, ...] = ()

    def __str__(self) -> str:
        """`35.1 ms ± 2.1 ms`."""
        spread = "unknown" if self.std_ms is None else f"{self.std_ms:.1f} ms"
        return f"{self.mean_ms:.1f} ms ± {spread}"

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types, with a `schema_version`."""
        return {"schema_version": 1, **asdict(self)}
