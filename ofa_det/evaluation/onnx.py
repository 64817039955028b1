"""Runs an exported `.onnx` detector."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from ofa_det.arch.description import PostProcessChange, PostProcessConfig
from ofa_det.artefacts.files import parse_json
from ofa_det.artefacts.onnx_external import external_data
from ofa_det.artefacts.records import parse_record
from ofa_det.detection.detections import Detections
from ofa_det.detection.postprocessing import postprocess
from ofa_det.evaluation.one_by_one import OneByOne

METADATA_KEY = "ofa_det"
NMS_METADATA_KEY = "ofa_det_suppressed"
"""Not that of a file which leaves suppression to its reader, so that nobody suppresses twice."""
INPUT_NAME = "images"
OUTPUT_NAMES = ("boxes", "scores")
DETECTION_OUTPUTS = ("boxes", "scores", "labels")
"""Of a file that suppresses by itself."""


@dataclass(frozen=True, kw_only=True)
class OnnxMetadata:
    """What an exported file says of itself.

    Args:
        class_category_ids: the category id of each class.
        class_names: the name of each class.
        postprocess: how its outputs become detections.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    class_category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    postprocess: PostProcessConfig


class OnnxDetector(OneByOne):
    """An `.onnx` detector of `tools/export_det.py` as a `Predictor`.

    The file takes one uint8 RGB image (1, H, W, 3) and gives boxes (1, A, 4) xyxy and scores (1, A, C), which are
    suppressed here, with the attributes that the file's metadata names; or boxes (N, 4), scores (N,) and labels (N,),
    suppressed in the file.

    Args:
        path: the file.
        num_threads: threads that the runtime uses for one operator.
        postprocess: settings that replace those of the metadata.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no ONNX model, or not one of our export.
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
            raise FileNotFoundError(f"expected an .onnx file, found nothing at {path}")
        self._session = _session(path, num_threads)
        metadata, self._is_suppressed = _metadata(path, self._session)
        self._category_ids = np.array(metadata.class_category_ids, dtype=np.int64)
        self._postprocess = (postprocess or PostProcessChange()).applied(metadata.postprocess)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        _, height, width, _ = self._session.get_inputs()[0].shape
        return height, width

    def _predict_one(self, image: NDArray[np.uint8]) -> Detections:
        if self._is_suppressed:
            boxes, scores, labels = self._session.run(list(DETECTION_OUTPUTS), {INPUT_NAME: image[None]})
            return Detections(boxes=boxes, scores=scores, category_ids=self._category_ids[labels])
        boxes, scores = self._session.run(list(OUTPUT_NAMES), {INPUT_NAME: image[None]})
        kept_boxes, kept_scores, labels = postprocess(
            torch.from_numpy(boxes[0]), torch.from_numpy(scores[0]), self._postprocess
        )
        return Detections(
            boxes=kept_boxes.numpy(), scores=kept_scores.numpy(), category_ids=self._category_ids[labels.numpy()]
        )


def _session(path: Path, num_threads: int) -> onnxruntime.InferenceSession:
    if num_threads < 1:
        raise ValueError(f"expected num_threads >= 1, found {num_threads}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # A failure is told once, by the exception.
    content = path.read_bytes()
    if (location := external_data(content)) is not None:
        raise ValueError(
            f"expected all weights inside {path}, found them in {location!r:.80}; save the model without external data"
        )
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no public base class
        reason = str(error).rpartition(" : ")[2].rstrip(".")  # Behind the runtime's own codes.
        raise ValueError(
            f"expected an ONNX model in {path}, found one that cannot be opened ({reason:.80}); copy or export it anew"
        ) from error


def _metadata(path: Path, session: onnxruntime.InferenceSession) -> tuple[OnnxMetadata, bool]:
    """What the file says of itself, and whether it suppresses by itself."""
    entries = session.get_modelmeta().custom_metadata_map
    key = next((key for key in (METADATA_KEY, NMS_METADATA_KEY) if key in entries), None)
    if key is None:
        raise ValueError(
            f"expected metadata {METADATA_KEY!r} in {path}, found none; export the detector with tools/export_det.py "
            "--format onnx"
        )
    where = f"metadata {key!r} of {path}"
    metadata = parse_record(parse_json(entries[key], where=where), OnnxMetadata, where=where)
    return metadata, key == NMS_METADATA_KEY
