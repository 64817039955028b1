"""Latencies as values: predicted, and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, get_args

from ofa_det.artefacts.manifest import LatencyEntry
from ofa_det.artefacts.records import to_plain

Precision = Literal["float32", "uint8"]
"""`uint8` stands for 8-bit quantized networks, whether their activations are signed (int8) or not."""

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)


@dataclass(frozen=True, kw_only=True)
class LayerLatency:
    """A layer's part of a predicted latency."""

    name: str
    kind: str
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class LatencyPrediction:
    """A predicted latency of one image.

    Args:
        mean_ms: expected latency.
        error_ms: one standard error.
        error_source: where the error is from, in words.
        device, runtime, precision, threads: what it is the latency of.
        macs, parameters: of the layers.
        layers: each layer's part, in the network's order.
        excluded: what is not counted.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    mean_ms: float
    error_ms: float
    error_source: str
    device: str
    runtime: str
    precision: Precision
    threads: int
    macs: int
    parameters: int
    layers: tuple[LayerLatency, ...]
    excluded: str

    def __str__(self) -> str:
        """`35.1 ms ± 2.1 ms`."""
        return f"{self.mean_ms:.1f} ms ± {self.error_ms:.1f} ms"

    def entry(self) -> LatencyEntry:
        """What a manifest tells of it."""
        return LatencyEntry(
            mean_ms=self.mean_ms,
            error_ms=self.error_ms,
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            excluded=self.excluded,
        )

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types, with a `schema_version`."""
        return {"schema_version": self.SCHEMA_VERSION, **to_plain(self)}


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

    SCHEMA_VERSION: ClassVar[int] = 2

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
        return {"schema_version": self.SCHEMA_VERSION, **to_plain(self)}
