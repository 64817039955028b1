"""Scores of a network in training, as its subnets would ship."""

from __future__ import annotations

import logging
import random
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
_DRAWS = 100
"""In which a space that is not tiny shows as many subnets as anyone watches."""


class Validator:
    """Scores some subnets and draws the detections of the first.

    A supernet's largest and smallest subnets are scored, and a few random ones, which tell early whether those between
    train as well. Each costs what the largest costs or less: a calibration of its batch norm and a pass over the
    validation images; with three random ones a validation is about two and a half times as long as without.

    Args:
        scorer: of subnets.
        dataset: images to draw on.
        run_folder: takes the pictures.
        random_subnets: scored beside the largest and the smallest; see `watched_subnets`.
        draws: whether it draws; of several ranks that score together one does.
    """

    def __init__(
        self,
        scorer: SubnetScorer,
        dataset: CocoDataset,
        run_folder: Path,
        *,
        random_subnets: int = 0,
        draws: bool = True,
    ) -> None:
        self._scorer = scorer
        self._dataset = dataset
        self._run_folder = run_folder
        self._random_subnets = random_subnets
        self._draws = draws

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
        for name, subnet in watched_subnets(network.subnets, self._random_subnets).items():
            predictor = self._scorer.predictor(network, subnet)
            aps[name] = self._scorer.score(predictor).ap
            if len(aps) == 1 and self._draws:
                sheet = contact_sheet(self._dataset, {f"{name} {100 * aps[name]:.1f}": predictor}, limit=PICTURE_IMAGES)
                write_picture(self._run_folder / "pictures" / f"{images:07d}.jpg", sheet)
                log.write_picture(images, sheet)
        logger.info(
            "%d images, in percent: %s", images, ", ".join(f"{name} {100 * ap:.1f}" for name, ap in aps.items())
        )
        return aps


def watched_subnets(subnets: Subnets, random_subnets: int = 0) -> dict[str, SubnetConfig]:
    """What to score, all at the largest resolution: the extremes and a few random subnets, or the only subnet.

    Args:
        subnets: those that train.
        random_subnets: how many beside the extremes; a small space may have fewer.

    Returns:
        `AP_largest`, `AP_smallest`, `AP_1` and on, each the same in every training of the space, or `AP`.
    """
    largest = subnets.largest()
    smallest = subnets.smallest(largest.resolution)
    if largest == smallest:
        return {"AP": largest}
    rng = random.Random("watched")
    drawn = dict.fromkeys(subnets.sample(rng, largest.resolution) for _ in range(_DRAWS))
    others = [subnet for subnet in drawn if subnet not in (largest, smallest)][:random_subnets]
    numbered = {f"AP_{number}": subnet for number, subnet in enumerate(others, start=1)}
    return {"AP_largest": largest, "AP_smallest": smallest, **numbered}
