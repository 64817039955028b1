"""A PyTorch detector as a `Predictor`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.arch.description import ModelDescription
from ofa_det.detection.box_coder import decode
from ofa_det.detection.detections import Detections
from ofa_det.detection.postprocessing import postprocess
from ofa_det.detection.preprocessing import check_images, normalise
from ofa_det.models.network import Detector


class TorchDetector:
    """Runs a static detector in eval mode.

    Args:
        detector: moved to `accelerator` and put into eval mode.
        description: of its classes, and of how its outputs become detections.
        accelerator: where to run; by default where the detector is.
    """

    def __init__(
        self, detector: Detector, description: ModelDescription, accelerator: torch.device | str | None = None
    ) -> None:
        parameter = next(detector.parameters())
        self._accelerator = parameter.device if accelerator is None else torch.device(accelerator)
        self._detector = detector.to(self._accelerator).eval()
        self._anchors = detector.anchors(detector.subnet).to(self._accelerator)
        self._category_ids = np.array([category.id for category in description.categories], np.int64)
        self._postprocess = description.postprocess

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        return self._detector.subnet.resolution, self._detector.subnet.resolution

    @torch.inference_mode()
    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Detects objects.

        Args:
            images: (B, H, W, 3) RGB, stretched to `input_size`.

        Returns:
            B detections.

        Raises:
            ValueError: images of another size or type.
        """
        check_images(images, self.input_size)
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(self._accelerator)
        output = self._detector(normalise(batch), self._detector.subnet)
        boxes, scores = decode(output.box_codes, self._anchors), output.logits.sigmoid()
        return [self._detections(*pair) for pair in zip(boxes, scores, strict=True)]

    def _detections(self, boxes: torch.Tensor, scores: torch.Tensor) -> Detections:
        boxes, scores, labels = postprocess(boxes, scores, self._postprocess)
        return Detections(
            boxes=boxes.float().cpu().numpy(),
            scores=scores.float().cpu().numpy(),
            category_ids=self._category_ids[labels.cpu().numpy()],
        )
