"""Outputs of an ONNX detector to boxes and class scores, as a decoder describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ofa_det.teachers.decoder import Decoder, GridOutput, ListOutput


class Decoded(NamedTuple):
    """What one image's outputs say.

    Args:
        boxes_px: (A, 4) xyxy, in pixels of the input; numbers that are not finite are left as they are.
        scores: (A, C), or (A,) of the class in `labels`.
        labels: (A,) class of each box, from 0; None where `scores` has a column for each class.
    """

    boxes_px: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None


def decode(decoder: Decoder, outputs: Mapping[str, NDArray[np.float32]], size: tuple[int, int]) -> Decoded:
    """Decodes the outputs of one image.

    Args:
        decoder: describes them.
        outputs: by name, without the dimension of the batch.
        size: (height, width) of the input, in pixels.

    Raises:
        ValueError: names or shapes that the decoder does not describe.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # Probing looks at what a wrong decoder makes of a file.
        if decoder.grid is not None:
            return _decode_grid(decoder.grid, outputs, cells(decoder.grid, size))
        assert decoder.list is not None
        return _decode_list(decoder.list, outputs, size)


def cells(grid: GridOutput, size: tuple[int, int]) -> NDArray[np.float32]:
    """(A, 3) column, row and stride of each cell.

    Args:
        grid: the levels.
        size: (height, width) of the input, in pixels.
    """
    levels = []
    for stride in grid.strides:
        rows, columns = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        levels.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], axis=1))
    return np.concatenate(levels).astype(np.float32)


def _decode_grid(grid: GridOutput, outputs: Mapping[str, NDArray[np.float32]], places: NDArray[np.float32]) -> Decoded:
    if len(outputs) != 1:
        raise ValueError(f"expected one output, found {', '.join(outputs)}")
    ((name, values),) = outputs.items()
    values = values.T if grid.cells_last else values
    fixed = grid.box_columns + ("objectness" in grid.columns)
    if values.ndim != 2 or len(values) != len(places) or values.shape[1] <= fixed:
        order = "(columns, cells)" if grid.cells_last else "(cells, columns)"
        raise ValueError(
            f"expected an output {order} of {len(places)} cells and more than {fixed} columns, found "
            f"{outputs[name].shape}"
        )
    widths = {"box": grid.box_columns, "objectness": 1, "classes": values.shape[1] - fixed}
    ends = np.cumsum([widths[column] for column in grid.columns])
    parts = dict(zip(grid.columns, np.split(values, ends[:-1], axis=1), strict=True))
    scores = _probabilities(grid, parts["classes"])
    if "objectness" in parts:
        scores = scores * _probabilities(grid, parts["objectness"])
    return Decoded(_boxes(grid, parts["box"], places), scores)


def _probabilities(grid: GridOutput, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-values))) if grid.scores == "logits" else values


def _boxes(grid: GridOutput, values: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """(A, 4) xyxy in pixels of the input."""
    stride = places[:, 2:]
    if grid.box == "centre":
        return _corners(values[:, :2], values[:, 2:])
    if grid.box == "offsets":
        return _corners((values[:, :2] + places[:, :2]) * stride, np.exp(values[:, 2:]) * stride)
    points = (places[:, :2] + grid.cell_point) * stride
    distances = (values if grid.box == "distances" else _expected_bins(values, grid.bins)) * stride
    return np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1)


def _expected_bins(values: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """(A, 4) means of the distributions whose logits are (A, 4 * bins)."""
    logits = values.reshape(len(values), 4, bins)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    return np.asarray((weights @ np.arange(bins, dtype=np.float32)) / weights.sum(axis=2))


def _decode_list(form: ListOutput, outputs: Mapping[str, NDArray[np.float32]], size: tuple[int, int]) -> Decoded:
    if set(outputs) != set(form.names):
        raise ValueError(f"expected outputs {', '.join(form.names)}, found {', '.join(outputs)}")
    boxes = outputs[form.boxes]
    columns = 4 if form.scores is not None else 5
    if boxes.ndim != 2 or boxes.shape[1] != columns:
        raise ValueError(f"expected {form.boxes} (boxes, {columns}), found {boxes.shape}")
    scores = boxes[:, 4] if form.scores is None else outputs[form.scores]
    labels = None if form.labels is None else outputs[form.labels]
    for name, values, dimensions in ((form.scores, scores, 2 if labels is None else 1), (form.labels, labels, 1)):
        if values is not None and (values.ndim != dimensions or len(values) != len(boxes)):
            shape = f"({len(boxes)}, classes)" if dimensions == 2 else f"({len(boxes)},)"
            raise ValueError(f"expected {name} {shape}, found {values.shape}")
    corners = boxes[:, :4]
    if form.corners == "yxyx":
        corners = corners[:, [1, 0, 3, 2]]
    elif form.corners == "centre":
        corners = _corners(corners[:, :2], corners[:, 2:])
    if form.unit == "fractions":
        corners = corners * np.array([size[1], size[0]] * 2, np.float32)
    first = np.rint(labels).astype(np.int64) - form.first_label if labels is not None else None
    return Decoded(corners, scores, first)


def _corners(centres: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
