"""Runs a file, and checks that what comes out is what OVIC's evaluation reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ofa_det.submission.report import Check, check


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Of one image: `boxes` (N, 4), `classes` (N,), `scores` (N,) of the N detections, and what `count` says."""

    boxes: NDArray[np.float32]
    classes: NDArray[np.float32]
    scores: NDArray[np.float32]
    count: float


def run_images(interpreter: Interpreter, images: Iterable[NDArray[Any]]) -> list[Outputs]:
    """Runs images (1, H, W, 3) of the input's type.

    Raises:
        ValueError: the file does not run, or its outputs are not four of as many detections.
    """
    return [_run(interpreter, image) for image in images]


def _run(interpreter: Interpreter, image: NDArray[Any]) -> Outputs:
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], image)
    try:
        interpreter.invoke()
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    found = [np.asarray(interpreter.get_tensor(output["index"])) for output in interpreter.get_output_details()]
    if len(found) != 4 or found[0].shape[-1:] != (4,) or found[3].size != 1:
        raise ValueError(f"outputs of shapes {[list(values.shape) for values in found]}")
    boxes, classes, scores = found[0].reshape(-1, 4), found[1].reshape(-1), found[2].reshape(-1)
    count = float(found[3].reshape(-1)[0])
    rows = int(count) if 0 <= count <= min(len(boxes), len(classes), len(scores)) else 0
    return Outputs(boxes=boxes[:rows], classes=classes[:rows], scores=scores[:rows], count=count)


def behaviour_checks(outputs: Sequence[Outputs], repeated: Outputs, *, most: int, num_classes: int) -> list[Check]:
    """The rules that outputs have to keep, over all images.

    Args:
        outputs: of each image.
        repeated: of the first image once more.
        most: detections of an image.
        num_classes: that there are.
    """
    boxes, classes, scores = (
        np.concatenate([getattr(output, name) for output in outputs]) for name in ("boxes", "classes", "scores")
    )
    counts = np.array([output.count for output in outputs])
    steps = np.concatenate([np.diff(output.scores) for output in outputs])
    whole = bool((classes == np.rint(classes)).all() and (classes >= 0).all() and (classes < num_classes).all())
    ordered = bool((boxes[:, 2:] >= boxes[:, :2]).all())
    first = outputs[0]
    same = all(
        np.array_equal(getattr(first, name), getattr(repeated, name))
        for name in ("boxes", "classes", "scores", "count")
    )
    finite = all(bool(np.isfinite(values).all()) for values in (boxes, classes, scores, counts))
    return [
        check("numbers", "finite", "finite" if finite else "NaN or infinity", finite),
        check(
            "count",
            f"a whole number of 0 to {most}",
            _span(counts),
            bool(((counts >= 0) & (counts <= most) & (counts == np.rint(counts))).all()),
        ),
        check("boxes", "ymin <= ymax, xmin <= xmax", _span(boxes) if ordered else "another order", ordered),
        check(
            "scores",
            "0 to 1, descending",
            f"{_span(scores)}{'' if (steps <= 0).all() else ', not descending'}",
            bool((steps <= 0).all() and ((scores >= 0) & (scores <= 1)).all()),
        ),
        check("class indices", f"whole numbers of 0 to {num_classes - 1}", _span(classes), whole),
        check("the same image again", "the same detections", "the same detections" if same else "others", same),
    ]


def random_image(shape: Sequence[int]) -> NDArray[np.uint8]:
    """Bytes of every value, the same each time."""
    return np.random.default_rng(0).integers(0, 256, tuple(shape), dtype=np.uint8)


def _span(values: NDArray[Any]) -> str:
    return f"{values.min():.6g} to {values.max():.6g}" if values.size else "none"
