"""What a detector's file does behind its last convolution, as counts that its time follows from.

The ops: RESHAPE of each level's predictions to a list, DEQUANTIZE, CONCATENATION of the levels, sigmoid, and
TFLite_Detection_PostProcess. A plan and the file that it becomes give the same tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, prod
from typing import Final, Literal

import numpy as np
from scipy.optimize import nnls

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.layers import Shape
from ofa_det.arch.plan import LayerPlan
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP
from ofa_det.latency.features import FloatArray
from ofa_det.latency.latencies import Precision

TailKind = Literal["reshape", "concat", "quantize", "dequantize", "sigmoid"]

CANDIDATES_PER_ANCHOR: Final = 2.0
"""Scores above the threshold for each anchor, over all classes, where nobody has counted them.

Counted over 20 images each at a threshold of 0.01: 1.0 (one class), 2.3 (three), 0.4 (24 columns) in detectors trained
with this package, 24 in the published SSD MobileNet V1 of 90 classes; this is their geometric mean.
"""
CANDIDATES_FACTOR: Final = 2.0
"""One standard error of `CANDIDATES_PER_ANCHOR`, as a factor: the spread of the three that were trained here."""
_COUNTED_THRESHOLD: Final = 0.005
"""Below it the figures above say nothing, and every score is taken for a candidate."""


@dataclass(frozen=True, kw_only=True)
class TailOp:
    """One op over a list of boxes or scores.

    Args:
        name: of the op, or of its output tensor.
        kind: what it does.
        elements: that it writes.
    """

    name: str
    kind: TailKind
    elements: int


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """TFLite_Detection_PostProcess, as far as its time depends on it.

    Args:
        anchors: boxes that it decodes.
        classes: score columns, without background.
        regular_nms: class by class; otherwise ("fast") once, on each anchor's best class.
        max_detections: detections kept for one image.
        detections_per_class: boxes kept for one class by regular NMS.
        candidates: scores above the threshold in an image, over all classes.
        counted: whether `candidates` were counted, not assumed.
    """

    anchors: int
    classes: int
    regular_nms: bool
    max_detections: int
    detections_per_class: int
    candidates: float
    counted: bool = False

    @property
    def pairs(self) -> float:
        """Pairs of boxes whose overlap is computed, if the candidates are spread evenly and none is suppressed.

        Suppression saves some of them: the law errs on the slow side.
        """
        if self.regular_nms:
            in_class = self.candidates / self.classes
            return self.classes * _pairs(min(in_class, self.anchors), self.detections_per_class)
        # An anchor is a candidate if any of its scores is.
        in_image = self.anchors * (1 - exp(-self.candidates / self.anchors))
        return _pairs(in_image, self.max_detections)

    def with_candidates(self, candidates: float, *, counted: bool) -> Suppression:
        """The same with another number of candidates."""
        return replace(self, candidates=min(candidates, self.anchors * self.classes), counted=counted)


@dataclass(frozen=True, kw_only=True)
class DetectionTail:
    """All ops behind the layers.

    Args:
        ops: over lists.
        suppression: the last op; None of a network that gives its outputs as they are.
    """

    ops: tuple[TailOp, ...] = ()
    suppression: Suppression | None = None

    def with_candidates(self, candidates: float) -> DetectionTail:
        """The same with a counted number of candidates.

        Raises:
            ValueError: a negative number.
        """
        if candidates < 0:
            raise ValueError(f"expected candidates >= 0, found {candidates}")
        if self.suppression is None:
            return self
        return replace(self, suppression=self.suppression.with_candidates(candidates, counted=True))


@dataclass(frozen=True, kw_only=True)
class PostprocessingLaw:
    """Time of a tail on one device, in ms; every rate is per million.

    Args:
        measured_on: the device and runtime, in words.
        copied, quantized, dequantized, activated: elements of RESHAPE and CONCATENATION, of QUANTIZE, of DEQUANTIZE, of
            a sigmoid.
        op: one call of an op.
        anchor: a box decoded.
        fast_score, regular_score: a score looked at by either suppression.
        pair: an overlap computed.
        error: root mean square of the relative errors of the post-processing op's times that it is fitted to; None
            where it was not kept.
    """

    measured_on: str
    copied: float
    quantized: float
    dequantized: float
    activated: float
    op: float
    anchor: float
    fast_score: float
    regular_score: float
    pair: float
    error: float | None = None

    def op_ms(self, op: TailOp) -> float:
        """Time of an op over a list."""
        rates = {"dequantize": self.dequantized, "quantize": self.quantized, "sigmoid": self.activated}
        return (rates.get(op.kind, self.copied) * op.elements + self.op) / 1e6

    def suppression_ms(self, suppression: Suppression) -> float:
        """Time of the post-processing op."""
        score = self.regular_score if suppression.regular_nms else self.fast_score
        scores = suppression.anchors * suppression.classes
        return (self.op + self.anchor * suppression.anchors + score * scores + self.pair * suppression.pairs) / 1e6

    def tail_ms(self, tail: DetectionTail) -> float:
        """Time of all of it."""
        last = 0.0 if tail.suppression is None else self.suppression_ms(tail.suppression)
        return sum(map(self.op_ms, tail.ops)) + last

    def candidates_error_ms(self, tail: DetectionTail) -> float:
        """One standard error of the time for not knowing the candidates; zero where they were counted."""
        found = tail.suppression
        if found is None or found.counted:
            return 0.0
        more = found.with_candidates(found.candidates * CANDIDATES_FACTOR, counted=False)
        return self.suppression_ms(more) - self.suppression_ms(found)

    def with_suppression(self, measured: Sequence[tuple[Suppression, float]]) -> PostprocessingLaw:
        """The law with the rates of the post-processing op fitted to M measured times less a call's, by relative error.

        Args:
            measured: calls and their times in ms, of both suppressions.

        Raises:
            ValueError: fewer than four.
        """
        if len(measured) < 4:
            raise ValueError(f"expected at least 4 timed calls of {POSTPROCESS_OP}, found {len(measured)}")
        counts = np.array([_counts(suppression) for suppression, _ in measured])
        times = np.array([ms for _, ms in measured])
        rates = _nonnegative_rates(counts / times[:, None], np.maximum(1 - self.op / 1e6 / times, 0))
        anchor, fast, regular, pair = (float(rate) for rate in rates)
        law = replace(self, anchor=anchor, fast_score=fast, regular_score=regular, pair=pair)
        predicted = np.array([law.suppression_ms(suppression) for suppression, _ in measured])
        return replace(law, error=float(np.sqrt(np.mean((predicted / times - 1) ** 2))))


HOST_LAW: Final = PostprocessingLaw(
    measured_on="one core of an x86-64 server, LiteRT 2 built-in kernels",
    copied=0.09,
    quantized=0.15,  # As DEQUANTIZE: 0.71 here, but phones have a vector kernel for it.
    dequantized=0.15,
    activated=1.1,
    op=2000.0,
    anchor=13.4,
    fast_score=0.40,
    regular_score=1.80,
    pair=3.52,
)
"""Medians of processor time of one-op files: 600 to 5,000 anchors, 4 to 90 classes, 0 to 20,000 candidates.

The 87 times of the post-processing op are within 7 % of the law on average, 29 % at worst.
`tools/benchmark_latency_model.py --postprocessing` measures them anew.
"""


def detection_tail(
    plan: LayerPlan, postprocess: PostProcessConfig, *, precision: Precision, candidates: float | None = None
) -> DetectionTail:
    """The tail of the file that a detector's plan becomes; empty for a classifier's.

    Args:
        plan: with the score columns of the file.
        postprocess: attributes of the post-processing op.
        precision: of the file; a `uint8` one takes bytes, and dequantizes the lists.
        candidates: scores above the threshold in an image; None assumes them.
    """
    if not plan.box_outputs:
        return DetectionTail()
    boxes, scores = (
        tuple((name, plan[name].output_shape) for name in o) for o in (plan.box_outputs, plan.score_outputs)
    )
    tail = _tail(plan.resolution, boxes, scores, plan.anchors_per_cell[0], postprocess, precision == "uint8")
    return tail if candidates is None else tail.with_candidates(candidates)


@lru_cache(maxsize=1024)
def _tail(
    resolution: int,
    boxes: tuple[tuple[str, Shape], ...],
    scores: tuple[tuple[str, Shape], ...],
    anchors_per_cell: int,
    postprocess: PostProcessConfig,
    quantized: bool,
) -> DetectionTail:
    """Of levels that predict boxes and scores of these names and shapes; the first has so many anchors at a cell."""
    ops = [TailOp(name="images", kind="quantize", elements=3 * resolution**2)] if quantized else []
    for name, shape in (*boxes, *scores):
        ops.append(TailOp(name=f"{name}/reshape", kind="reshape", elements=prod(shape)))
        if quantized:
            ops.append(TailOp(name=f"{name}/dequantize", kind="dequantize", elements=prod(shape)))
    codes, logits = (sum(prod(shape) for _, shape in levels) for levels in (boxes, scores))
    ops += [
        TailOp(name="box_codes", kind="concat", elements=codes),
        TailOp(name="logits", kind="concat", elements=logits),
        TailOp(name="scores", kind="sigmoid", elements=logits),
    ]
    columns = scores[0][1].channels // anchors_per_cell
    return DetectionTail(ops=tuple(ops), suppression=new_suppression(codes // 4, columns, postprocess))


def new_suppression(anchors: int, classes: int, postprocess: PostProcessConfig) -> Suppression:
    """The post-processing op with the candidates that are to be expected."""
    assumed = CANDIDATES_PER_ANCHOR * anchors if postprocess.score_threshold >= _COUNTED_THRESHOLD else float("inf")
    return Suppression(
        anchors=anchors,
        classes=classes,
        regular_nms=postprocess.regular_nms,
        max_detections=postprocess.max_detections,
        detections_per_class=postprocess.detections_per_class,
        candidates=min(assumed, anchors * classes),
    )


def _pairs(candidates: float, kept: int) -> float:
    """The best of the remaining is compared with all that remain behind it, until enough are kept."""
    kept_of_them = min(candidates, kept)
    return kept_of_them * candidates - kept_of_them**2 / 2


def _counts(suppression: Suppression) -> tuple[float, float, float, float]:
    """Millions of anchors, of scores for either suppression, and of pairs."""
    scores = suppression.anchors * suppression.classes / 1e6
    fast, regular = (0.0, scores) if suppression.regular_nms else (scores, 0.0)
    return suppression.anchors / 1e6, fast, regular, suppression.pairs / 1e6


def _nonnegative_rates(counts: FloatArray, times: FloatArray) -> FloatArray:
    return np.asarray(nnls(counts, times)[0])
