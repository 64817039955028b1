"""YOLOX detectors trained on COCO, as the ONNX files that its authors' exporter writes (without box decoding)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.arch.description import PostProcessConfig
from ofa_det.detection.detections import Detections
from ofa_det.detection.postprocessing import postprocess
from ofa_det.teachers.coco_categories import COCO_CATEGORIES

STRIDES = (8, 16, 32)
PADDING_BYTE = 114
BOX_COLUMNS = 5
"""tx, ty, tw, th, objectness; the class scores follow."""

POST_PROCESS = PostProcessConfig(
    score_threshold=0.001, iou_threshold=0.65, max_detections=300, detections_per_class=300
)
"""The settings that YOLOX is evaluated with."""


class YoloxTeacher:
    """Runs one YOLOX ONNX file.

    Args:
        path: the file.
        post_process: thresholds and limits of its detections.
        threads: CPU threads; 0 takes all cores.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not ONNX, or its input and output are not those of YOLOX on COCO.
    """

    def __init__(self, path: str | Path, *, post_process: PostProcessConfig = POST_PROCESS, threads: int = 0) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"expected a YOLOX .onnx file, found nothing at {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), sess_options=options, providers=["CPUExecutionProvider"]
            )
        # onnxruntime's exceptions share no base class but Exception; whichever it is, the file does not load.
        except Exception as error:
            raise ValueError(f"expected a YOLOX .onnx file, found one that does not load: {path}: {error}") from error
        self._input_size = self._checked_input_size(path)
        self._cells = _cells(*self._input_size)
        self._post_process = post_process

    @property
    def categories(self) -> tuple[Category, ...]:
        """COCO's 80."""
        return COCO_CATEGORIES

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input, in pixels."""
        return self._input_size

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Detects objects in an RGB image (H, W, 3) of any size; boxes are normalised to it and clipped."""
        canvas, ratio = letterbox(image, self._input_size)
        blob = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)  # BGR, 0..255
        (rows,) = self._session.run(None, {self._session.get_inputs()[0].name: np.ascontiguousarray(blob)})
        boxes_px, scores = decode(np.asarray(rows, np.float32)[0], self._cells)
        height, width = image.shape[:2]
        boxes = (boxes_px / (ratio * np.array([width, height, width, height], np.float32))).clip(0, 1)
        kept_boxes, kept_scores, labels = postprocess(
            torch.from_numpy(boxes), torch.from_numpy(scores), self._post_process
        )
        ids = np.array([category.id for category in self.categories], np.int64)
        return Detections(boxes=kept_boxes.numpy(), scores=kept_scores.numpy(), category_ids=ids[labels.numpy()])

    def _checked_input_size(self, path: Path) -> tuple[int, int]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [list(value.shape) for value in (*inputs, *outputs)]
        columns = BOX_COLUMNS + len(COCO_CATEGORIES)
        fits = len(shapes) == 2 and len(shapes[0]) == 4 and all(isinstance(side, int) for side in shapes[0])
        if fits:
            batch, channels, height, width = shapes[0]
            cells = sum((height // stride) * (width // stride) for stride in STRIDES)
            fits = (batch, channels) == (1, 3) and shapes[1] == [1, cells, columns]
        if not fits:
            raise ValueError(
                f"expected a YOLOX file with input [1, 3, H, W] and output [1, H*W*(1/64+1/256+1/1024), {columns}], "
                f"found {' -> '.join(map(str, shapes))} in {path}"
            )
        return height, width


def letterbox(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[NDArray[np.uint8], float]:
    """Resizes an image so that it fits, keeping its shape, into the top left corner of a grey canvas.

    Args:
        image: (H, W, 3).
        size: (height, width) of the canvas, in pixels.

    Returns:
        The canvas, (height, width, 3), and the canvas pixels per image pixel.
    """
    ratio = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, int(side * ratio)) for side in image.shape[:2])
    canvas = np.full((*size, 3), PADDING_BYTE, np.uint8)
    canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return canvas, ratio


def decode(rows: NDArray[np.float32], cells: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Raw output to boxes and class scores.

    Args:
        rows: (A, 5 + C) tx, ty, tw, th, objectness, class scores; one row a cell.
        cells: (A, 3) column, row and stride of each cell.

    Returns:
        Boxes (A, 4) xyxy in input pixels, and scores (A, C), the product of objectness and class score.
    """
    stride = cells[:, 2:]
    centres = (rows[:, :2] + cells[:, :2]) * stride
    halves = np.exp(rows[:, 2:4]) * stride / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return boxes, rows[:, 4:BOX_COLUMNS] * rows[:, BOX_COLUMNS:]


def _cells(height: int, width: int) -> NDArray[np.float32]:
    """(A, 3) column, row and stride: level by level, each row by row."""
    levels = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        levels.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], axis=1))
    return np.concatenate(levels).astype(np.float32)
