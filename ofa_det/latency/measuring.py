"""How times are taken, here or on a phone, as measuring one file and calibrating a table are both told."""

from __future__ import annotations

import re
from typing import Literal, Protocol, get_args

from ofa_det.latency.android import Phone, PhoneRuns
from ofa_det.latency.host import Clock, HostRuns

MeasuringDevice = Literal["host", "adb"]


class MeasuringConfig(Protocol):
    """The part of a configuration that says how to measure; see `MeasureLatencyConfig`."""

    @property
    def device(self) -> str:
        """`host` or `adb`."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads."""
        ...

    @property
    def warmup_runs(self) -> int:
        """Inferences before the timed ones."""
        ...

    @property
    def runs(self) -> int:
        """Timed inferences."""
        ...

    @property
    def xnnpack(self) -> bool:
        """Whether XNNPACK runs the ops it knows."""
        ...

    @property
    def clock(self) -> Clock:
        """Of the host."""
        ...

    @property
    def cpu_mask(self) -> str:
        """Of the phone."""
        ...

    @property
    def benchmark_model(self) -> str:
        """On the phone."""
        ...

    @property
    def serial(self) -> str | None:
        """Of the phone."""
        ...

    @property
    def timeout_s(self) -> float:
        """Of one command on the phone."""
        ...


def check_measuring(config: MeasuringConfig) -> None:
    """Refuses what cannot be measured so.

    Raises:
        ValueError: an unknown device or clock, numbers out of range, a mask without a core, or a phone's clock.
    """
    if config.device not in get_args(MeasuringDevice):
        raise ValueError(f"expected a device of {', '.join(get_args(MeasuringDevice))}, found {config.device!r}")
    if config.threads < 1 or config.runs < 1 or config.warmup_runs < 0:
        raise ValueError(
            "expected threads >= 1, runs >= 1 and warmup_runs >= 0, "
            f"found {config.threads}, {config.runs} and {config.warmup_runs}"
        )
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]+", config.cpu_mask) or int(config.cpu_mask, 16) == 0:
        raise ValueError(f"expected a hexadecimal cpu_mask of at least one core, found {config.cpu_mask!r}")
    if not config.timeout_s > 0:
        raise ValueError(f"expected timeout_s > 0, found {config.timeout_s}")
    if config.clock not in get_args(Clock):
        raise ValueError(f"expected a clock of {', '.join(get_args(Clock))}, found {config.clock!r}")
    if config.device == "adb" and config.clock != "wall":
        raise ValueError(f"expected --clock with --device host, found {config.clock} with adb; leave it out")


def host_runs(config: MeasuringConfig) -> HostRuns:
    """How the host is to be timed."""
    return HostRuns(
        threads=config.threads,
        warmup_runs=config.warmup_runs,
        runs=config.runs,
        xnnpack=config.xnnpack,
        clock=config.clock,
    )


def phone_runs(config: MeasuringConfig, *, per_op: bool) -> PhoneRuns:
    """How a phone is to be timed."""
    return PhoneRuns(
        threads=config.threads,
        warmup_runs=config.warmup_runs,
        runs=config.runs,
        xnnpack=config.xnnpack,
        per_op=per_op,
        cpu_mask=config.cpu_mask,
        benchmark_model=config.benchmark_model,
    )


def chosen_phone(config: MeasuringConfig) -> Phone:
    """The phone that is to be timed."""
    return Phone(serial=config.serial, timeout_s=config.timeout_s)
