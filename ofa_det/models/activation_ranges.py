"""Ranges of int8 activations, chosen from what a float detector computes on images of the training set."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofa_det.arch.layers import Layer
from ofa_det.arch.plan import LayerPlan
from ofa_det.detection.preprocessing import normalise
from ofa_det.models.classifier import Classifier
from ofa_det.models.fake_quantization import (
    BEFORE_ACTIVATION,
    Range,
    Ranges,
    including_zero,
    joined,
    partial_sums,
    tensor_roots,
)
from ofa_det.models.network import Detector

RangeRule = Literal["minmax", "percentile", "mse"]
"""How a range follows from the values that were seen: all of them, all but one in ten thousand at either end, or the
one with the least mean squared error of rounding and clipping (Nagel et al. 2021, section 3.1)."""

CONFIDENT_LOGIT = math.log(0.95 / 0.05)
"""Of a score of 0.95. The logits' range reaches up to it on every level: on one where the calibration images have no
object it would else end at a score of 0.5 or so, and cap those of the objects that do come."""

SILENT_MARGIN = 1.0
"""How far below the logit of the score threshold the logits' range ends, so that rounding lifts nothing over it."""

_BINS = 8192
_TAIL = 1e-4
_FRACTIONS = np.linspace(0.3, 1.0, 29)
_LEAST_CONFIDENT_ANCHORS = 32


def silent_logit(score_threshold: float) -> float:
    """A logit whose score stays below the threshold, rounding included; logits below it are of no use to anybody."""
    if score_threshold <= 0:
        return -math.inf
    return math.log(score_threshold / (1 - score_threshold)) - SILENT_MARGIN if score_threshold < 1 else 0.0


@torch.no_grad()
def calibrated_ranges(
    detector: Detector, images: Sequence[NDArray[np.uint8]], *, rule: RangeRule, score_threshold: float
) -> Ranges:
    """The ranges of every tensor of the int8 file.

    Logits keep the range between `silent_logit` and the highest on any level, at least `CONFIDENT_LOGIT`. Box codes
    keep that of the anchors that are detections on some image, since nothing reads the others.

    Args:
        detector: the float detector, in eval mode.
        images: (H, W, 3) uint8 of its input size.
        rule: for all other tensors.
        score_threshold: of the file.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("expected at least one calibration image, found none")
    if rule not in get_args(RangeRule):
        raise ValueError(f"expected a rule of {', '.join(get_args(RangeRule))}, found {rule!r}")
    seen: dict[str, _Histogram] = defaultdict(_Histogram)
    watched = _WatchedDetector(detector, lambda name, features: seen[name].add(features))
    codes, best = [], []
    for image in images:
        output = watched(normalise(torch.from_numpy(image[None]).permute(0, 3, 1, 2)), detector.subnet)
        codes.append(output.box_codes[0])
        best.append(output.logits[0].amax(dim=1))
    plan = detector.plan(detector.subnet)
    extremes = {name: (histogram.low, histogram.high) for name, histogram in seen.items()}
    ranges = {name: _chosen(rule, histogram) for name, histogram in seen.items()}
    ranges |= _logit_ranges(plan, extremes, score_threshold)
    ranges |= _box_ranges(plan, torch.stack(codes), torch.stack(best), ranges, score_threshold)
    return joined(ranges, tensor_roots(plan))


@torch.no_grad()
def classifier_ranges(classifier: Classifier, images: Sequence[NDArray[np.uint8]], *, rule: RangeRule) -> Ranges:
    """The ranges of every tensor of a classifier's int8 file.

    Args:
        classifier: in eval mode.
        images: (H, W, 3) uint8 of its input size.
        rule: how a range follows from the values; the logits' reaches as far as they do.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("expected at least one calibration image, found none")
    seen: dict[str, _Histogram] = defaultdict(_Histogram)
    for image in images:
        batch = normalise(torch.from_numpy(image[None]).permute(0, 3, 1, 2))
        classifier(batch, see=lambda name, features: seen[name].add(features))
    ranges = {name: _chosen(rule, histogram) for name, histogram in seen.items()}
    logits = classifier.plan.layers[-1].name
    ranges[logits] = _chosen("minmax", seen[logits])
    return joined(ranges, tensor_roots(classifier.plan))


def _logit_ranges(plan: LayerPlan, extremes: Ranges, score_threshold: float) -> dict[str, Range]:
    silent = silent_logit(score_threshold)
    high = max(CONFIDENT_LOGIT, *(extremes[name][1] for name in plan.score_outputs))
    return {name: (silent if math.isfinite(silent) else extremes[name][0], high) for name in plan.score_outputs}


def _box_ranges(
    plan: LayerPlan, codes: Tensor, best_logits: Tensor, ranges: Ranges, score_threshold: float
) -> dict[str, Range]:
    """Of the anchors whose best score reaches the threshold, on levels that have enough of them."""
    sizes = [
        height * width * anchors
        for (height, width), anchors in zip(plan.feature_sizes, plan.anchors_per_cell, strict=True)
    ]
    found = {}
    levels = zip(
        plan.box_outputs, torch.split(codes, sizes, dim=1), torch.split(best_logits, sizes, dim=1), strict=True
    )
    for name, level_codes, level_logits in levels:
        kept = level_codes[level_logits.sigmoid() >= score_threshold]
        found[name] = ranges[name]
        if len(kept) >= _LEAST_CONFIDENT_ANCHORS:
            found[name] = float(kept.min()), float(kept.max())
    return found


class _WatchedDetector(Detector):
    """A float detector that shows every tensor of its file to be; it is made from another detector.

    Args:
        detector: whose weights it has a copy of.
        see: called with the name and the values of each tensor.
    """

    def __init__(self, detector: Detector, see: Callable[[str, Tensor], None]) -> None:
        super().__init__(detector.config, detector.subnet)
        self.load_state_dict(detector.state_dict())
        self._see = see
        self.eval()

    def _run(self, plan: LayerPlan, layer: Layer, inputs: list[Tensor]) -> Tensor:
        for number, name in enumerate(partial_sums(layer), start=2):
            self._see(name, torch.stack(inputs[:number]).sum(0))
        return super()._run(plan, layer, inputs)

    def _activate(self, layer: Layer, features: Tensor) -> Tensor:
        if layer.activation == "hswish":
            self._see(layer.name + BEFORE_ACTIVATION, features)
        result = super()._activate(layer, features)
        if layer.activation != "hsigmoid":
            self._see(layer.name, result)
        return result


class _Histogram:
    """Counts of values in bins of equal width around zero, whose width doubles until all values have one."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self._end = 2.0**-20
        self._counts = np.zeros(_BINS)

    def add(self, features: Tensor) -> None:
        """Counts the values of a tensor."""
        low, high = (float(value) for value in torch.aminmax(features))
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) > self._end:
            quarter = _BINS // 4
            self._counts = np.pad(self._counts.reshape(-1, 2).sum(axis=1), quarter)
            self._end *= 2
        # In the order of memory, whatever it is; a value at the very end belongs to the last bin.
        values = features.cpu().numpy().ravel("K")
        bins = ((values + np.float32(self._end)) * np.float32(_BINS / 2 / self._end)).astype(np.int32)
        counts = np.bincount(bins, minlength=_BINS + 1)
        counts[-2] += counts[-1]
        self._counts += counts[:-1]

    @property
    def centres(self) -> NDArray[np.float64]:
        """(N,) of the bins that hold values, ascending."""
        every = (np.arange(_BINS) + 0.5) * (2 * self._end / _BINS) - self._end
        return np.asarray(every[self._counts > 0])

    @property
    def counts(self) -> NDArray[np.float64]:
        """(N,) of these bins."""
        return self._counts[self._counts > 0]


def _chosen(rule: RangeRule, histogram: _Histogram) -> Range:
    low, high = including_zero(histogram.low, histogram.high)
    if rule == "minmax":
        return low, high
    centres, counts = histogram.centres, histogram.counts
    if rule == "percentile":
        below = np.cumsum(counts) / counts.sum()
        least, greatest = centres[np.searchsorted(below, [_TAIL, 1 - _TAIL])]
        return including_zero(max(low, float(least)), min(high, float(greatest)))

    def error(low: float, high: float) -> float:
        low, high = including_zero(low, high)
        scale = (high - low) / 255
        rounded = np.clip(np.round((centres - low) / scale), 0, 255) * scale + low
        return float((counts * np.square(centres - rounded)).sum())

    best_high = min((high * fraction for fraction in _FRACTIONS), key=lambda end: error(low, end))
    if low == 0:
        return including_zero(low, best_high)
    return including_zero(
        min((low * fraction for fraction in _FRACTIONS), key=lambda end: error(end, best_high)), best_high
    )
