"""What a calibration measures on: this computer, or a phone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ofa_det.latency.android import Phone, PhoneRuns, measure_on_phone
from ofa_det.latency.host import HostRuns, host_machine, host_name, median_ms
from ofa_det.latency.latencies import MeasuredLatency
from ofa_det.latency.measuring import MeasuringConfig, chosen_phone, host_runs, phone_runs
from ofa_det.latency.postprocessing_timing import op_file


class CalibrationDevice(Protocol):
    """Times files, always in the same way."""

    @property
    def name(self) -> str:
        """Of the device."""
        ...

    @property
    def runtime(self) -> str:
        """Of the software."""
        ...

    @property
    def machine(self) -> Mapping[str, str]:
        """What else decides how fast it is."""
        ...

    def median_ms(self, content: bytes) -> float:
        """Time of a file on noise."""
        ...


def open_device(config: MeasuringConfig) -> CalibrationDevice:
    """The device that a configuration names."""
    if config.device == "host":
        return Host(runs=host_runs(config))
    return ConnectedPhone(phone=chosen_phone(config), runs=phone_runs(config, per_op=False))


@dataclass(frozen=True, kw_only=True)
class Host:
    """This computer.

    Args:
        runs: how files are timed.
    """

    runs: HostRuns

    @property
    def name(self) -> str:
        """In words."""
        return host_name()

    @property
    def runtime(self) -> str:
        """LiteRT and its kernels."""
        return self.runs.runtime

    @property
    def machine(self) -> Mapping[str, str]:
        """Processor, governor and temperature."""
        return host_machine()

    def median_ms(self, content: bytes) -> float:
        """Median of the runs."""
        return median_ms(content, self.runs)


@dataclass(frozen=True, kw_only=True)
class ConnectedPhone:
    """A phone that adb reaches; `benchmark_model` fills the inputs with noise of its own.

    Args:
        phone: where.
        runs: how files are timed.
    """

    phone: Phone
    runs: PhoneRuns

    @property
    def name(self) -> str:
        """Of the phone."""
        return self._probe.device

    @property
    def runtime(self) -> str:
        """Build of the tool, and its kernels."""
        return self._probe.runtime

    @property
    def machine(self) -> Mapping[str, str]:
        """Build, governor and temperature."""
        return self._probe.machine

    def median_ms(self, content: bytes) -> float:
        """Mean of the runs: the tool tells no median."""
        return self._measured(content).mean_ms

    @cached_property
    def _probe(self) -> MeasuredLatency:
        """Of the smallest file there is: what phone, tool and kernels are at hand."""
        return self._measured(op_file("sigmoid", (1, 1, 8)), runs=1)

    def _measured(self, content: bytes, runs: int | None = None) -> MeasuredLatency:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(content)
            chosen = self.runs if runs is None else replace(self.runs, runs=runs)
            return measure_on_phone(self.phone, str(path), chosen)
