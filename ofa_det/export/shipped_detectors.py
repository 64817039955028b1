"""Predictors of exported files that no command but the export opens, so that their AP too is that of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ofa_det.arch.description import PostProcessConfig
from ofa_det.detection.box_coder import CODE_WEIGHTS, decode
from ofa_det.detection.detections import Detections
from ofa_det.detection.postprocessing import postprocess
from ofa_det.detection.preprocessing import check_images
from ofa_det.evaluation.tflite import input_values
from ofa_det.export.converted import ConvertedModel
from ofa_det.export.mirror_weights import TF_BOX_ORDER
from ofa_det.export.onnx_suppression import DETECTION_OUTPUTS


class RawTfliteDetector:
    """A `.tflite` file that gives box codes and scores.

    Args:
        converted: the file, with its anchors.
        config: how its outputs become detections.
        box_scales: y_scale, x_scale, h_scale and w_scale of its box codes.
    """

    def __init__(
        self, converted: ConvertedModel, config: PostProcessConfig, box_scales: tuple[float, float, float, float]
    ) -> None:
        assert converted.anchors is not None
        self._interpreter = Interpreter(model_content=converted.content, num_threads=1)
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = [int(entry["index"]) for entry in self._interpreter.get_output_details()]
        self._anchors = torch.from_numpy(converted.anchors)
        self._category_ids = converted.columns.category_ids
        self._config = config
        # (ty, tx, th, tw) in the file's scales to (dx, dy, dw, dh) in ours.
        self._order = np.argsort(TF_BOX_ORDER)
        self._factors = np.array(CODE_WEIGHTS, np.float32) / np.array(box_scales, np.float32)[self._order]

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        _, height, width, _ = self._input["shape"].tolist()
        return height, width

    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Detects objects in (B, H, W, 3) RGB images."""
        check_images(images, self.input_size)
        return [self._predict_one(image) for image in images]

    def _predict_one(self, image: NDArray[np.uint8]) -> Detections:
        self._interpreter.set_tensor(self._input["index"], input_values(image, self._input["dtype"]))
        self._interpreter.invoke()
        codes, scores = (self._interpreter.get_tensor(index)[0] for index in self._outputs)
        ours = torch.from_numpy(codes[:, self._order] * self._factors)
        boxes, kept, labels = postprocess(decode(ours, self._anchors), torch.from_numpy(scores), self._config)
        ids = np.array([self._category_ids[label] or 0 for label in labels.tolist()], np.int64)
        return Detections(boxes=boxes.numpy(), scores=kept.numpy(), category_ids=ids)


class SuppressedOnnxDetector:
    """An `.onnx` file that suppresses by itself.

    Args:
        converted: the file.
    """

    def __init__(self, converted: ConvertedModel) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            converted.content, options, providers=["CPUExecutionProvider"]
        )
        self._input = converted.input
        self._category_ids = np.array(converted.columns.category_ids, np.int64)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        _, height, width, _ = self._input.shape
        return height, width

    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Detects objects in (B, H, W, 3) RGB images."""
        check_images(images, self.input_size)
        return [self._predict_one(image) for image in images]

    def _predict_one(self, image: NDArray[np.uint8]) -> Detections:
        boxes, scores, labels = self._session.run(list(DETECTION_OUTPUTS), {self._input.name: image[None]})
        return Detections(boxes=boxes, scores=scores, category_ids=self._category_ids[labels])
