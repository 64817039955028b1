"""Scores of a network in training, as its subnets would ship."""

from __future__ import annotations

import logging
from pathlib import Path

from ofa_det.arch.space import Subnets
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.evaluation.pictures import contact_sheet, write_picture
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.network import DetectionNetwork
from ofa_det.training.metrics_log import MetricsLog

logger = logging.getLogger(__name__)
PICTURE_IMAGES = 6


class Validator:
    """Scores some subnets and draws the detections of the first.

    Args:
        scorer: of subnets.
        dataset: images to draw on.
        run_folder: takes the pictures.
    """

    def __init__(self, scorer: SubnetScorer, dataset: CocoDataset, run_folder: Path) -> None:
        self._scorer = scorer
        self._dataset = dataset
        self._run_folder = run_folder

    def __call__(self, network: DetectionNetwork, images: int, log: MetricsLog) -> dict[str, float]:
        """Scores and draws.

        Args:
            network: in eval mode; not changed.
            images: drawn so far, for the picture's name.
            log: takes the picture.

        Returns:
            AP of each subnet, `AP` alone for a single one.
        """
        aps: dict[str, float] = {}
        for name, subnet in watched_subnets(network.subnets).items():
            predictor = self._scorer.predictor(network, subnet)
            aps[name] = self._scorer.score(predictor).ap
            if len(aps) == 1:
                sheet = contact_sheet(self._dataset, {f"{name} {aps[name]:.3f}": predictor}, limit=PICTURE_IMAGES)
                write_picture(self._run_folder / "pictures" / f"{images:07d}.jpg", sheet)
                log.write_picture(images, sheet)
        logger.info("%d images: %s", images, ", ".join(f"{name} {ap:.3f}" for name, ap in aps.items()))
        return aps


def watched_subnets(subnets: Subnets) -> dict[str, SubnetConfig]:
    """What to score: the extremes at the largest resolution, or the only subnet."""
    largest = subnets.largest()
    smallest = subnets.smallest(largest.resolution)
    return {"AP": largest} if largest == smallest else {"AP_largest": largest, "AP_smallest": smallest}
