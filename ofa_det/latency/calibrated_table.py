"""`latency_table.json`: the costs of one device, measured by `calibrate_latency`, as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ofa_det.artefacts.records import read_record
from ofa_det.latency.calibrated_range import CalibratedRange, LayerRange
from ofa_det.latency.features import FEATURES
from ofa_det.latency.fitted_model import ErrorBasis, FittedLatencyModel
from ofa_det.latency.fitting import FittedCosts
from ofa_det.latency.latencies import Precision
from ofa_det.latency.postprocessing import PostprocessingLaw

TABLE_FILE = "latency_table.json"

_UNKEPT_LAW_ERROR = 0.1
"""Of the law of post-processing in tables from before it was kept: twice what one computer's calls gave on average."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How a table predicts subnets that it was not fitted to.

    Args:
        networks: how many.
        spearman: rank correlation of predicted and measured latency.
        mean_error, worst_error, rms_error: relative.
    """

    networks: int
    spearman: float
    mean_error: float
    worst_error: float
    rms_error: float

    def __str__(self) -> str:
        """`30 subnets held out: Spearman 0.990, error 2.1 % mean, 5.0 % worst`."""
        return (
            f"{self.networks} subnets held out: Spearman {self.spearman:.3f}, error {self.mean_error:.1%} mean, "
            f"{self.worst_error:.1%} worst, {self.rms_error:.1%} root mean square"
        )


@dataclass(frozen=True, kw_only=True)
class CalibratedTable:
    """Measured costs.

    Args:
        device, runtime, precision, threads: what was measured.
        machine: governor, temperature, build and the like, as far as they were found.
        clock: whether wall or processor time was taken.
        space: search space of the subnets.
        networks: that were fitted.
        features: names of the costs.
        costs: ms per unit.
        law: of post-processing on the device.
        ranges: layers of the fitted networks.
        held_out: error.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    device: str
    runtime: str
    precision: Precision
    threads: int
    machine: Mapping[str, str]
    clock: str
    space: str
    networks: int
    features: tuple[str, ...]
    costs: tuple[float, ...]
    law: PostprocessingLaw
    ranges: Mapping[str, LayerRange]
    held_out: HeldOut

    @property
    def model(self) -> FittedLatencyModel:
        """The latency model that the table is."""
        return FittedLatencyModel(
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            fitted=FittedCosts(costs=np.array(self.costs), scales={self.runtime: 1.0}),
            errors=ErrorBasis(
                network=self.held_out.rms_error,
                detector=0.0,
                postprocessing=_UNKEPT_LAW_ERROR if self.law.error is None else self.law.error,
                rests_on=f"{self.held_out.networks} subnets of {self.space} measured in {self.precision} on "
                f"{self.runtime}, outside the fit to {self.networks} others",
                source=str(self.held_out),
            ),
            calibrated=CalibratedRange(networks=f"measured {self.precision} subnet", ranges=self.ranges),
            law=self.law,
            excluded="decoding and resizing the image",
        )


def read_table(path: Path) -> FittedLatencyModel:
    """The latency model in a file of `calibrate_latency`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a table, or one of other features.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a table of calibrate_latency, found nothing at {path}")
    table = read_record(path, CalibratedTable)
    if table.features != FEATURES or len(table.costs) != len(FEATURES):
        raise ValueError(
            f"expected costs of {', '.join(FEATURES)} in {path}, found {', '.join(table.features)}; calibrate again"
        )
    return table.model
