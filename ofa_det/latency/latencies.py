"""Latencies as values: predicted, and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, NamedTuple, get_args

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


class Estimate(NamedTuple):
    """A predicted latency without its story: what a search asks for, tens of thousands of times.

    Args:
        mean_ms: expected latency.
        error_ms: one standard error.
    """

    mean_ms: float
    error_ms: float

    def at_most_ms(self, safety: float) -> float:
        """What is not exceeded, so many standard errors above the expected latency."""
        return self.mean_ms + safety * self.error_ms


def checked_safety(safety: float) -> float:
    """A number of standard errors.

    Raises:
        ValueError: it is negative, or no number.
    """
    if not safety >= 0:
        raise ValueError(f"expected safety >= 0 (standard errors above the expected latency), found {safety}")
    return safety


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
        rests_on: how many networks of that precision and runtime the error was taken on, in words.
        extrapolated: what lies outside those networks, in words; empty if nothing does.
        postprocessing_ms: part of `mean_ms` that a detector's file spends behind its layers.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

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
    rests_on: str = ""
    extrapolated: tuple[str, ...] = ()
    postprocessing_ms: float = 0.0

    def __str__(self) -> str:
        """`35.1 ms ± 2.1 ms`."""
        return f"{self.mean_ms:.1f} ms ± {self.error_ms:.1f} ms"

    def at_most_ms(self, safety: float) -> float:
        """What is not exceeded, so many standard errors above the expected latency."""
        return self.mean_ms + safety * self.error_ms

    def entry(self) -> LatencyEntry:
        """What a manifest tells of it."""
        return LatencyEntry(
            mean_ms=self.mean_ms,
            error_ms=self.error_ms,
            postprocessing_ms=self.postprocessing_ms,
            rests_on=self.rests_on,
            extrapolated=self.extrapolated,
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
    """Time of one op of the graph, per image.

    Args:
        name: of its first output tensor, or what the tool calls it.
        kind: of the op.
        latency_ms: median, or the tool's mean.
        spread_ms: half of the range of the middle half of the runs; None if the tool did not tell.
        index: in the graph's order; None if the tool did not tell.
    """

    name: str
    kind: str
    latency_ms: float
    spread_ms: float | None = None
    index: int | None = None


@dataclass(frozen=True, kw_only=True)
class MeasuredLatency:
    """Latency of one image, over repeated runs.

    Args:
        mean_ms: mean over the runs.
        std_ms: standard deviation of one run, not of the mean; None if the tool did not tell.
        median_ms: median over the runs; None if the tool did not tell.
        spread_ms: half of the range of the middle half of the runs; None if the tool did not tell.
        runs: number of timed runs; None if the tool did not tell.
        device, runtime, threads: what was measured.
        clock: whether wall or processor time was taken.
        machine: processor, build, governor, temperature, version of the tool, as far as they could be found.
        ops: time of each op: on a host of one-op files, on a phone from a run of its own with profiling on.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    mean_ms: float
    std_ms: float | None
    median_ms: float | None
    runs: int | None
    device: str
    runtime: str
    threads: int
    spread_ms: float | None = None
    clock: str = "wall"
    machine: Mapping[str, str] = field(default_factory=dict)
    ops: tuple[OpTiming, ...] = ()

    def __str__(self) -> str:
        """`35.1 ms ± 2.1 ms`: the median and its spread, which other work disturbs less, or the mean and its own."""
        told = (self.mean_ms, self.std_ms) if self.median_ms is None else (self.median_ms, self.spread_ms)
        typical, spread = ("unknown" if value is None else f"{value:.1f} ms" for value in told)
        return f"{typical} ± {spread}"

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types, with a `schema_version`."""
        return {"schema_version": self.SCHEMA_VERSION, **to_plain(self)}
