"""A PyTorch detector as a `Predictor`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.data.categories import Category
from ofa_det.detection.box_coder import decode
from ofa_det.detection.detections import Detections
from ofa_det.detection.postprocessing import PostProcessConfig, postprocess
from ofa_det.detection.preprocessing import normalise
from ofa_det.models.detector import Detector


class TorchDetector:
    """Runs a static detector in eval mode.

    Args:
        detector: moved to `device` and put into eval mode.
        categories: the object classes, in the order of the labels.
        postprocess: attributes of the suppression.
        device: where to run; by default where the detector is.

    Raises:
        ValueError: another number of categories than the detector has classes.
    """

    def __init__(
        self,
        detector: Detector,
        categories: Sequence[Category],
        postprocess: PostProcessConfig | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if len(categories) != detector.config.num_classes:
            raise ValueError(f"expected {detector.config.num_classes} categories, found {len(categories)}")
        self._device = torch.device(device) if device is not None else next(detector.parameters()).device
        self._detector = detector.to(self._device).eval()
        self._anchors = detector.anchors.to(self._device)
        self._category_ids = np.array([category.id for category in categories], np.int64)
        self._postprocess = postprocess or PostProcessConfig()

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        return self._detector.plan.resolution, self._detector.plan.resolution

    @torch.inference_mode()
    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Detects objects.

        Args:
            images: (B, H, W, 3) RGB, stretched to `input_size`.

        Returns:
            B detections.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (*self.input_size, 3):
            raise ValueError(f"expected uint8 (B, {self.input_size}, 3) images, found {images.dtype} {images.shape}")
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(self._device)
        output = self._detector(normalise(batch))
        boxes, scores = decode(output.box_codes, self._anchors), output.logits.sigmoid()
        return [self._detections(*pair) for pair in zip(boxes, scores, strict=True)]

    def _detections(self, boxes: torch.Tensor, scores: torch.Tensor) -> Detections:
        boxes, scores, labels = postprocess(boxes, scores, self._postprocess)
        return Detections(
            boxes=boxes.float().cpu().numpy(),
            scores=scores.float().cpu().numpy(),
            category_ids=self._category_ids[labels.cpu().numpy()],
        )
