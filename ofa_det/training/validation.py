"""Scores of a network in training: averaged weights, extracted, calibrated, as they would ship."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.detection.postprocessing import PostProcessConfig
from ofa_det.evaluation.contact_sheet import contact_sheet, write_picture
from ofa_det.evaluation.scoring import evaluate
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.calibration import calibrate_batch_norm, calibration_batches
from ofa_det.models.detector import Detector
from ofa_det.models.extraction import extract
from ofa_det.models.supernet import Supernet
from ofa_det.training.averaging import WeightAverage
from ofa_det.training.metrics_log import MetricsLog

logger = logging.getLogger(__name__)
PICTURE_IMAGES = 6


class Validator:
    """Scores the averaged weights and draws detections.

    Args:
        network: whose weights are averaged; not changed.
        subnets: name -> subnet to score; a static detector has one.
        dataset: images to score on.
        calibration: training images for batch-norm statistics.
        calibration_images: how many of them.
        postprocess: attributes of the detections.
        run_folder: takes the pictures.
    """

    def __init__(
        self,
        network: Supernet | Detector,
        *,
        subnets: Mapping[str, SubnetConfig],
        dataset: CocoDataset,
        calibration: CocoDataset,
        calibration_images: int,
        postprocess: PostProcessConfig,
        run_folder: Path,
    ) -> None:
        self._network = network
        self._subnets = subnets
        self._dataset = dataset
        self._calibration = calibration
        self._calibration_images = calibration_images
        self._postprocess = postprocess
        self._run_folder = run_folder

    def averaged(self, average: WeightAverage) -> Supernet | Detector:
        """A copy of the network with the averaged weights, in eval mode; a static detector is calibrated."""
        network = copy.deepcopy(self._network)
        average.copy_to(network)
        network.eval()
        if isinstance(network, Detector):
            self._calibrate(network)
        return network

    def __call__(self, average: WeightAverage, images: int, log: MetricsLog) -> dict[str, float]:
        """Scores and draws.

        Args:
            average: weights to score.
            images: drawn so far, for the picture's name.
            log: takes the picture.

        Returns:
            AP of each subnet, `AP` alone for a single one.
        """
        network = self.averaged(average)
        aps = {}
        for position, (name, subnet) in enumerate(self._subnets.items()):
            if isinstance(network, Supernet):
                detector = extract(network, subnet)
                self._calibrate(detector)
            else:
                detector = network
            predictor = TorchDetector(detector, self._calibration.categories, self._postprocess)
            metrics = evaluate(predictor, self._dataset, progress=False)
            aps[name] = metrics.ap
            if position == 0:
                sheet = contact_sheet(self._dataset, {f"{name} {metrics.ap:.3f}": predictor}, limit=PICTURE_IMAGES)
                write_picture(self._run_folder / "pictures" / f"{images:07d}.jpg", sheet)
                log.write_picture(images, sheet)
        logger.info("%d images: %s", images, ", ".join(f"{name} {ap:.3f}" for name, ap in aps.items()))
        return aps

    def _calibrate(self, detector: Detector) -> None:
        device = next(detector.parameters()).device
        batches = calibration_batches(
            self._calibration, detector.subnet.resolution, num_images=self._calibration_images
        )
        calibrate_batch_norm(detector, (images.to(device) for images in batches))


def validation_subnets(network: Supernet | Detector) -> dict[str, SubnetConfig]:
    """What to score: a detector's subnet, or a supernet's extremes at its largest resolution."""
    if isinstance(network, Detector):
        return {"AP": network.subnet}
    resolution = network.space.resolutions[-1]
    return {"AP_largest": network.space.largest(), "AP_smallest": network.space.smallest(resolution)}
