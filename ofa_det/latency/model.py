"""Latency of a network on a device: one protocol, and the models there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from ofa_det.arch.layers import Layer
from ofa_det.latency.latencies import PRECISIONS, LatencyPrediction, Precision
from ofa_det.latency.pixel2 import pixel2_model


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

    def predict(self, layers: Iterable[Layer]) -> LatencyPrediction:
        """Predicts the latency of one image, without the post-processing op.

        Args:
            layers: of a layer plan or of a `.tflite` file.
        """
        ...


_MODELS: Final[Mapping[str, Callable[[Precision, str | None], LatencyModel]]] = MappingProxyType(
    {"pixel2": pixel2_model}
)
"""By device: the model of a precision and a runtime, of the default runtime if None."""


def device_names() -> tuple[str, ...]:
    """The devices that there are models of."""
    return tuple(_MODELS)


def latency_model(
    device: str = "pixel2", *, precision: Precision = "uint8", runtime: str | None = None
) -> LatencyModel:
    """The latency model of a device.

    Args:
        device: one of `device_names`.
        precision: "uint8" (8-bit quantized) or "float32".
        runtime: version of the software; None is the device's default.

    Raises:
        ValueError: an unknown device, precision or runtime; the message names the known ones.
    """
    if device not in _MODELS:
        raise ValueError(f"expected a device of {', '.join(_MODELS)}, found {device!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, found {precision!r}")
    return _MODELS[device](precision, runtime)
