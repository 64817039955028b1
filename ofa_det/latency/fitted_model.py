"""Latency as a sum over layers and post-processing, from costs of features; the error of the sum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from typing import Final

from ofa_det.arch.layers import Layer
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP
from ofa_det.latency.calibrated_range import CalibratedRange
from ofa_det.latency.features import POSTPROCESSING, layer_features
from ofa_det.latency.fitting import FittedCosts
from ofa_det.latency.latencies import Estimate, LatencyPrediction, LayerLatency, Precision
from ofa_det.latency.postprocessing import DetectionTail, PostprocessingLaw, Suppression

_KIND_NAMES: Final = {
    "reshape": "RESHAPE",
    "concat": "CONCATENATION",
    "quantize": "QUANTIZE",
    "dequantize": "DEQUANTIZE",
    "sigmoid": "LOGISTIC",
}
NO_TAIL: Final = DetectionTail()


@dataclass(frozen=True, kw_only=True)
class ErrorBasis:
    """Relative standard errors of predictions, and what they were taken on.

    Args:
        network: of the whole of a network.
        detector: of the whole of a detector, besides.
        postprocessing: of its post-processing.
        rests_on: how many networks of what precision and runtime they rest on, in words.
        source: how they were found, in words.
        regular_nms: what is known of regular NMS, in words; it is named beside a prediction that has it.
    """

    network: float
    detector: float
    postprocessing: float
    rests_on: str
    source: str
    regular_nms: str = ""


@dataclass(frozen=True, kw_only=True)
class FittedLatencyModel:
    """Latency as a sum over layers; implements `LatencyModel`.

    Args:
        device, runtime, precision, threads: what it is the model of.
        fitted: costs of features.
        errors: of a prediction.
        calibrated: the layers of the networks that it was fitted to.
        law: time of post-processing on the host whose milliseconds are the feature `postprocessing`.
        excluded: what no prediction counts.
    """

    device: str
    runtime: str
    precision: Precision
    threads: int
    fitted: FittedCosts
    errors: ErrorBasis
    calibrated: CalibratedRange
    law: PostprocessingLaw
    excluded: str

    def estimate(self, layers: Iterable[Layer], tail: DetectionTail = NO_TAIL) -> Estimate:
        """Mean and standard error of `predict` without the rest; times of layers are kept between calls."""
        network_ms = 0.0
        known = self._known_ms
        for layer in layers:
            key = (
                layer.kind,
                layer.input_shapes,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                layer.activation,
                layer.padding,
            )
            ms = known.get(key)
            if ms is None:
                ms = known[key] = self._layer_ms(layer)
            network_ms += ms
        return self._estimate(network_ms, tail)

    def predict(self, layers: Iterable[Layer], tail: DetectionTail = NO_TAIL) -> LatencyPrediction:
        """Predicts the latency of one image.

        Args:
            layers: of a layer plan or of a `.tflite` file.
            tail: what a detector's file does behind them.
        """
        layers = tuple(layers)
        layer_ms = [self._layer_ms(layer) for layer in layers]
        parts = [
            LayerLatency(name=layer.name, kind=layer.kind, latency_ms=ms)
            for layer, ms in zip(layers, layer_ms, strict=True)
        ]
        tail_parts = self._tail_parts(tail)
        estimate = self._estimate(sum(layer_ms), tail)
        return LatencyPrediction(
            mean_ms=estimate.mean_ms,
            error_ms=estimate.error_ms,
            error_source=self.errors.source,
            rests_on=self.errors.rests_on,
            extrapolated=self.calibrated.notes(layers, layer_ms) + self._suppression_notes(tail.suppression),
            postprocessing_ms=sum(part.latency_ms for part in tail_parts),
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            macs=sum(layer.macs for layer in layers),
            parameters=sum(layer.parameters for layer in layers),
            layers=(*parts, *tail_parts),
            excluded=self.excluded,
        )

    def _estimate(self, network_ms: float, tail: DetectionTail) -> Estimate:
        tail_ms = self._slowness * self.law.tail_ms(tail)
        mean_ms = network_ms + tail_ms
        is_detector = tail.suppression is not None
        error_ms = hypot(
            self.errors.network * mean_ms,
            self.errors.detector * mean_ms if is_detector else 0.0,
            self.errors.postprocessing * tail_ms,
            self._slowness * self.law.candidates_error_ms(tail),
        )
        return Estimate(mean_ms, error_ms)

    @cached_property
    def _known_ms(self) -> dict[object, float]:
        """Times of layers that were asked for, by all that they depend on."""
        return {}

    @property
    def _slowness(self) -> float:
        """Milliseconds of post-processing on the device for one on the host of the law."""
        return float(self.fitted.costs[POSTPROCESSING]) * self.fitted.scales[self.runtime]

    def _layer_ms(self, layer: Layer) -> float:
        return self.fitted.predict_ms(layer_features(layer), self.runtime)

    def _tail_parts(self, tail: DetectionTail) -> Sequence[LayerLatency]:
        parts = [
            LayerLatency(name=op.name, kind=_KIND_NAMES[op.kind], latency_ms=self._slowness * self.law.op_ms(op))
            for op in tail.ops
        ]
        if tail.suppression is not None:
            ms = self._slowness * self.law.suppression_ms(tail.suppression)
            kind = "regular NMS" if tail.suppression.regular_nms else "fast NMS"
            parts.append(LayerLatency(name=POSTPROCESS_OP, kind=kind, latency_ms=ms))
        return parts

    def _suppression_notes(self, suppression: Suppression | None) -> tuple[str, ...]:
        if suppression is None:
            return ()
        notes = []
        if suppression.regular_nms and self.errors.regular_nms:
            notes.append(self.errors.regular_nms)
        if not suppression.counted:
            notes.append(
                f"{suppression.candidates:.0f} candidates (scores above the threshold) in an image are assumed; "
                "--candidates N says how many there are"
            )
        return tuple(notes)
