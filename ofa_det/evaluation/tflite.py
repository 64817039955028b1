"""Runs any `.tflite` detector that ends in TFLite_Detection_PostProcess."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ofa_det.arch.description import PostProcessChange
from ofa_det.artefacts.manifest import MANIFEST_FILE, read_manifest
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP
from ofa_det.artefacts.tflite_content import open_interpreter
from ofa_det.detection.detections import Detections
from ofa_det.detection.preprocessing import PIXEL_MEAN, normalise_array
from ofa_det.evaluation.one_by_one import OneByOne
from ofa_det.evaluation.tflite_settings import with_postprocess


class TfliteDetector(OneByOne):
    """A `.tflite` detector as a `Predictor`.

    Raw RGB bytes go into a uint8 input, x - 128 into an int8 one, (x - 128) / 128 into a float32 one. The class indices
    are mapped by the `class_category_ids` of a `manifest.json` beside the file; without one, the category id is
    class + 1, as in the COCO label map that the TF models and OVIC use. Detections of a class without a category are
    dropped.

    Args:
        path: the file.
        num_threads: threads that the interpreter uses for one image.
        postprocess: settings that replace the file's own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no TFLite model, does not end in the op, takes another input, or the manifest beside it
            describes another file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        num_threads: int = 1,
        postprocess: PostProcessChange | None = None,
    ) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"expected a .tflite file, found nothing at {path}")
        content = path.read_bytes()
        if postprocess is not None and postprocess.values():
            content = with_postprocess(path, content, postprocess)
        self._path = path
        manifest = read_manifest(path)
        self._interpreter = open_interpreter(content, where=str(path), threads=num_threads)
        self._input = image_input(path, self._interpreter)
        self._outputs = _postprocess_outputs(path, self._interpreter)
        self._class_category_ids = None if manifest is None else manifest.class_category_ids

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        _, height, width, _ = self._input["shape"].tolist()
        return height, width

    def _predict_one(self, image: NDArray[np.uint8]) -> Detections:
        self._interpreter.set_tensor(self._input["index"], input_values(image, self._input["dtype"]))
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise ValueError(f"expected a .tflite that LiteRT runs, found {self._path}: {error}") from error
        boxes, classes, scores, count = (self._interpreter.get_tensor(index) for index in self._outputs)
        # The op counts candidates, of which there can be more than rows; rows beyond the count are not written.
        rows = min(int(count.reshape(-1)[0]), scores.size)
        ymin_xmin_ymax_xmax = boxes.reshape(-1, 4)[:rows]
        labels = np.rint(classes.reshape(-1)[:rows]).astype(np.int64)
        scores = scores.reshape(-1)[:rows]
        category_ids, known = self._categories(labels)
        order = np.flatnonzero(known)
        order = order[np.argsort(-scores[order], kind="stable")]
        return Detections(
            boxes=ymin_xmin_ymax_xmax[order][:, [1, 0, 3, 2]].astype(np.float32),
            scores=scores[order].astype(np.float32),
            category_ids=category_ids[order],
        )

    def _categories(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Category ids (N,) of class indices (N,), and which of them are known."""
        if self._class_category_ids is None:
            return labels + 1, np.ones(len(labels), dtype=np.bool_)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self._class_category_ids):
            raise ValueError(
                f"expected classes below {len(self._class_category_ids)}, as {MANIFEST_FILE} beside {self._path} "
                f"lists, found {labels.max()}; export the model again"
            )
        known = np.array([self._class_category_ids[label] is not None for label in labels], dtype=np.bool_)
        ids = np.array([self._class_category_ids[label] or 0 for label in labels], dtype=np.int64)
        return ids, known


def input_values(image: NDArray[np.uint8], dtype: Any) -> NDArray[Any]:
    """(1, H, W, 3) of an image (H, W, 3), as an input of that type takes it."""
    if dtype == np.float32:
        return normalise_array(image[None])
    return (image[None].astype(np.int16) - int(PIXEL_MEAN)).astype(np.int8) if dtype == np.int8 else image[None]


def image_input(path: Path, interpreter: Interpreter) -> dict[str, Any]:
    """The only input of a file.

    Raises:
        ValueError: several, or one that takes no image.
    """
    inputs: list[dict[str, Any]] = interpreter.get_input_details()
    shapes = [(entry["shape"].tolist(), np.dtype(entry["dtype"]).name) for entry in inputs]
    if len(inputs) != 1 or len(shapes[0][0]) != 4 or shapes[0][0][0] != 1 or shapes[0][0][3] != 3:
        raise ValueError(f"expected one image input [1, H, W, 3] in {path}, found {shapes}")
    if inputs[0]["dtype"] not in (np.uint8, np.int8, np.float32):
        raise ValueError(f"expected a uint8, int8 or float32 input in {path}, found {shapes[0][1]}")
    return inputs[0]


def _postprocess_outputs(path: Path, interpreter: Interpreter) -> Sequence[int]:
    """Tensors of boxes, classes, scores and count: the op's outputs, whatever order the graph gives them in."""
    for op in interpreter._get_ops_details():
        if op["op_name"] == POSTPROCESS_OP and len(op["outputs"]) == 4:
            return [int(index) for index in op["outputs"]]
    names = [entry["name"] for entry in interpreter.get_output_details()]
    raise ValueError(
        f"expected a detector that ends in {POSTPROCESS_OP} with its four outputs in {path}, "
        f"found outputs {', '.join(names)}; export it with tools/export_det.py"
    )
