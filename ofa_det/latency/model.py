"""Latency of a network on a device: one protocol, and the models there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from ofa_det.arch.classes import ClassNumbering
from ofa_det.arch.description import ModelDescription
from ofa_det.arch.layers import Layer
from ofa_det.arch.plan import LayerPlan
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.latency.calibrated_table import read_table
from ofa_det.latency.latencies import PRECISIONS, Estimate, LatencyPrediction, Precision
from ofa_det.latency.lookup_table import read_lookup_tables
from ofa_det.latency.pixel2 import pixel2_model
from ofa_det.latency.postprocessing import DetectionTail, detection_tail


class LatencyModel(Protocol):
    """Predicts latencies of one image on one device, runtime, precision and number of threads."""

    @property
    def device(self) -> str:
        """Name of the phone or host."""
        ...

    @property
    def runtime(self) -> str:
        """Name of the software."""
        ...

    @property
    def precision(self) -> Precision:
        """Of the networks."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads."""
        ...

    def predict(self, layers: Iterable[Layer], tail: DetectionTail = ...) -> LatencyPrediction:
        """Predicts the latency of one image.

        Args:
            layers: of a layer plan or of a `.tflite` file.
            tail: what a detector's file does behind them; without it the prediction is of the layers alone.
        """
        ...

    def estimate(self, layers: Iterable[Layer], tail: DetectionTail = ...) -> Estimate:
        """Mean and standard error of the same prediction, quickly."""
        ...


_MODELS: Final[Mapping[str, Callable[[Precision, str | None], LatencyModel]]] = MappingProxyType(
    {"pixel2": pixel2_model}
)
"""By device: the model of a precision and a runtime, of the default runtime if None."""


def device_names() -> tuple[str, ...]:
    """The devices that models of are built in; a file or folder of a measured table is one, too."""
    return tuple(_MODELS)


def latency_model(
    device: str = "pixel2", *, precision: Precision = "uint8", runtime: str | None = None
) -> LatencyModel:
    """The latency model of a device.

    Args:
        device: one of `device_names`, a table of `calibrate_latency` (.json), or a folder of once-for-all lookup tables
            (<resolution>_lookup_table.yaml).
        precision: "uint8" (8-bit quantized) or "float32".
        runtime: version of the software; None is the device's default.

    Raises:
        FileNotFoundError: no such table.
        ValueError: an unknown device, precision or runtime; the message names the known ones.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, found {precision!r}")
    if device in _MODELS:
        return _MODELS[device](precision, runtime)
    path = Path(device)
    if path.suffix == ".json":
        return _checked(read_table(path), device, precision, runtime)
    if path.is_dir():
        return _checked(read_lookup_tables(path), device, precision, runtime)
    raise ValueError(
        f"expected a device of {', '.join(_MODELS)}, found {device!r}; a latency_table.json of calibrate_latency, or a "
        "folder of lookup tables, is one, too"
    )


def _checked(model: LatencyModel, device: str, precision: Precision, runtime: str | None) -> LatencyModel:
    """A table is of one precision and one runtime."""
    if model.precision != precision:
        raise ValueError(f"expected --precision {model.precision}, the one that {device} is of, found {precision}")
    if runtime not in (None, model.runtime):
        raise ValueError(
            f"expected a runtime of {model.runtime!r}, the one that {device} is of, found {runtime!r}; pass --runtime "
            "null"
        )
    return model


def shipped_work(
    description: ModelDescription,
    subnet: SubnetConfig,
    *,
    precision: Precision,
    numbering: ClassNumbering = "competition",
) -> tuple[LayerPlan, DetectionTail]:
    """What the file of a subnet does: the layers that ship and what comes behind them, as latency models take both.

    Args:
        description: of the detector, or of the supernet.
        subnet: of it.
        precision: of the file.
        numbering: of its classes; columns that no category has cost time like the others.
    """
    plan = description.shipped_plan(subnet, numbering)
    return plan, detection_tail(plan, description.postprocess, precision=precision)
