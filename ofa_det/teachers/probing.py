"""Which decoder fits an ONNX file: its outputs on a made-up image have to make sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ofa_det.teachers.decoder import AUTO, Decoder, read_decoder, shipped_decoders
from ofa_det.teachers.decoding import Decoded, cells, decode
from ofa_det.teachers.onnx_file import OnnxFile
from ofa_det.teachers.placing import normalised, place
from ofa_det.teachers.teacher import MIN_SCORE

_SCORE_TOLERANCE = 1e-3
_MAX_DISTANCE = 4.0  # Median distance of a grid's boxes from their cells, in strides; NanoDet's bins allow 3.5.
_MAX_SHARE = 0.05  # Of a grid's boxes without extent.
_MAX_CONFIDENT = 0.5  # Share of a grid's cells with a score above 0.5; logits read as probabilities, and the reverse.
_MIN_INSIDE = 0.9  # Share of listed boxes whose centre lies in the image.
_FRACTIONS = 2.0  # Boxes that end before, in pixels, are fractions.


class ChosenDecoder(NamedTuple):
    """A decoder that fits a file.

    Args:
        name: as it was asked for, or of `configs/teachers/`.
        decoder: what it says.
        num_classes: of the file; None if its outputs do not tell.
    """

    name: str
    decoder: Decoder
    num_classes: int | None


def choose_decoder(file: OnnxFile, name: str) -> ChosenDecoder:
    """Takes a decoder if it fits.

    Args:
        file: an ONNX detector.
        name: YAML file, or name of one in `configs/teachers/`; `auto` takes the only one of these that fits.

    Raises:
        FileNotFoundError: no such decoder.
        ValueError: it does not fit, or none or several do; the message says what each failed on.
    """
    if name != AUTO:
        decoder = read_decoder(name)
        try:
            return ChosenDecoder(name, decoder, probe(file, decoder))
        except ValueError as error:
            raise ValueError(f"expected decoder {name} to fit {file.path}, found that it does not: {error}") from error
    fitting, reasons = [], []
    for other, decoder in shipped_decoders().items():
        try:
            fitting.append(ChosenDecoder(other, decoder, probe(file, decoder)))
        except ValueError as error:
            reasons.append(f"{other}: {error}")
    if len(fitting) > 1:
        names = ", ".join(chosen.name for chosen in fitting)
        raise ValueError(f"expected one decoder to fit {file.path}, found {names}; pass one as --decoder")
    if not fitting:
        raise ValueError(
            f"expected a decoder that fits {file.path} ({file.signature}), found none; pass a YAML file of your own as "
            f"--decoder, see configs/teachers; {'; '.join(reasons)}"
        )
    return fitting[0]


def probe(file: OnnxFile, decoder: Decoder) -> int | None:
    """Runs the file on a made-up image.

    Returns:
        How many classes it has; None if its outputs do not tell.

    Raises:
        ValueError: what does not fit.
    """
    if decoder.list is not None and set(decoder.list.names) != set(file.output_names):
        raise ValueError(f"expected outputs {', '.join(decoder.list.names)}, found {', '.join(file.output_names)}")
    if decoder.grid is not None and len(file.output_names) != 1:
        raise ValueError(f"expected one output, found {', '.join(file.output_names)}")
    image = probe_image()
    size = file.size(decoder.input)
    if size is None and decoder.grid is not None:
        raise ValueError("expected a size, since the file takes images of any, found none in the decoder's input")
    canvas, _ = place(image, size or image.shape[:2], decoder.input)
    canvases = np.repeat(canvas[None], file.batch_size or 1, axis=0)
    outputs = file.run(normalised(canvases, decoder.input, file.dtype))
    height, width = canvas.shape[:2]
    decoded = decode(decoder, split_batch(decoder, outputs, 0), (height, width))
    _check(decoder, decoded, (height, width))
    return None if decoded.labels is not None else decoded.scores.shape[1]


def split_batch(decoder: Decoder, outputs: Mapping[str, NDArray[Any]], number: int) -> dict[str, NDArray[np.float32]]:
    """The outputs of one image of a run, as float32.

    Args:
        decoder: describes them.
        outputs: by name. Those of a file that takes one image may come without the dimension of the batch.
        number: of the image.
    """
    boxes = next(iter(outputs.values())) if decoder.list is None else outputs[decoder.list.boxes]
    batched = boxes.ndim == 3
    return {name: (values[number] if batched else values).astype(np.float32) for name, values in outputs.items()}


def probe_image() -> NDArray[np.uint8]:
    """(480, 640, 3): shaded, noisy, with a few plain things in front."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:480, :640]
    shades = np.stack([rows / 3, columns / 4, (rows + columns) / 6], axis=2) + rng.normal(60, 8, (480, 640, 3))
    image: NDArray[np.uint8] = shades.clip(0, 255).astype(np.uint8)
    cv2.rectangle(image, (60, 200), (220, 420), (200, 40, 30), -1)
    cv2.circle(image, (420, 180), 90, (30, 80, 210), -1)
    cv2.ellipse(image, (500, 380), (110, 50), 15, 0, 360, (240, 230, 90), -1)
    return image


def _check(decoder: Decoder, decoded: Decoded, size: tuple[int, int]) -> None:
    boxes, scores = decoded.boxes_px, decoded.scores
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("boxes or scores that are not finite")
    low, high = (float(scores.min()), float(scores.max())) if scores.size else (0.0, 0.0)
    if low < -_SCORE_TOLERANCE or high > 1 + _SCORE_TOLERANCE:
        raise ValueError(f"scores of {low:.3g} to {high:.3g}, not of 0 to 1")
    if decoder.grid is not None:
        _check_grid(boxes, scores, cells(decoder.grid, size))
    elif decoder.list is not None:
        best = scores if decoded.labels is not None else scores.max(axis=1, initial=0)
        rows = best >= MIN_SCORE
        _check_list(boxes[rows], None if decoded.labels is None else decoded.labels[rows], size, decoder.list.unit)


def _check_grid(boxes: NDArray[np.float32], scores: NDArray[np.float32], places: NDArray[np.float32]) -> None:
    if (share := float((boxes[:, 2:] <= boxes[:, :2]).any(axis=1).mean())) > _MAX_SHARE:
        raise ValueError(f"{share:.0%} of the boxes without extent")
    distances = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 / places[:, 2:] - places[:, :2] - 0.5).max(axis=1)
    if (median := float(np.median(distances))) > _MAX_DISTANCE:
        raise ValueError(f"boxes {median:.0f} strides away from their cells")
    if (share := float((scores.max(axis=1) > 0.5).mean())) > _MAX_CONFIDENT:
        raise ValueError(f"scores above 0.5 in {share:.0%} of the cells")


def _check_list(boxes: NDArray[np.float32], labels: NDArray[np.int64] | None, size: tuple[int, int], unit: str) -> None:
    if not len(boxes):
        return  # Nothing was found in the made-up image; names and shapes have to do.
    if unit == "pixels" and boxes.max() <= _FRACTIONS:
        raise ValueError(f"boxes that end at {boxes.max():.2g}, which are fractions and not pixels")
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((centres >= 0) & (centres <= np.array([size[1], size[0]]))).all(axis=1)
    proper = inside & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    if proper.mean() < _MIN_INSIDE:
        raise ValueError(f"{1 - proper.mean():.0%} of the boxes outside of the image or inverted")
    if labels is not None and labels.min() < 0:
        raise ValueError("labels below the first")
