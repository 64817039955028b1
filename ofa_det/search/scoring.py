"""What measures the subnets of a search: the supernet, its images, and all that a measurement depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import to_plain
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.evaluation.holdout import augmentation_of, open_fit_and_holdout
from ofa_det.evaluation.resampling import resampled_ap
from ofa_det.evaluation.subnets import ScorePrecision, SubnetScorer
from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.run_folder import load_supernet
from ofa_det.search.config import SearchConfig

SCORE, SCORE_INT8, RESCORE = "score", "score in int8", "rescore"
"""Jobs of a team."""

_RESAMPLING_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scoring:
    """What measures subnets of one supernet.

    Args:
        config: of the search.
        description: of the supernet.
        network: the supernet.
        augmentation: how its training varied them.
        fit: images that it was trained on.
        searched, rescored: held-out images that the search, and the choice behind it, score on.
        scorer, rescorer: of either; the second in the precision that the choice is made in.
    """

    config: SearchConfig
    description: ModelDescription
    network: DetectionNetwork
    augmentation: AugmentationConfig
    fit: CocoDataset
    searched: CocoDataset
    rescored: CocoDataset
    scorer: SubnetScorer
    rescorer: SubnetScorer

    @classmethod
    def open(cls, config: SearchConfig) -> Scoring:
        """Reads the supernet and the images."""
        trained = load_supernet(config.supernet)
        description = trained.description
        augmentation = augmentation_of(config.supernet)
        fit, holdout = open_fit_and_holdout(config.data, description, supernet=config.supernet)
        searched, rescored = divided(holdout, config.rescore.share)
        new_scorer = partial(
            SubnetScorer,
            description,
            calibration=fit,
            augmentation=augmentation,
            cache_bytes=1_000_000 * config.score.cache_mb,
        )
        rescorer = new_scorer(calibration_images=config.rescore.calibration_images, scored=rescored)
        return cls(
            config=config,
            description=description,
            network=trained.network.to(checked_accelerator(config.accelerator)),
            augmentation=augmentation,
            fit=fit,
            searched=searched,
            rescored=rescored,
            scorer=new_scorer(calibration_images=config.calibration_images, scored=searched),
            rescorer=rescorer.of_precision(config.score.chosen_in),
        )

    @property
    def jobs(self) -> Mapping[str, Callable[[SubnetConfig], Any]]:
        """What measures one subnet, by name."""
        return {SCORE: self.ap, SCORE_INT8: self.int8_ap, RESCORE: self.resampled}

    def ap(self, subnet: SubnetConfig) -> float:
        """In the search."""
        return self.scorer.of_precision(self.config.score.precision).ap(self.network, subnet)

    def int8_ap(self, subnet: SubnetConfig) -> float:
        """In the search, as its int8 file will compute."""
        return self.scorer.of_precision("int8").ap(self.network, subnet)

    def resampled(self, subnet: SubnetConfig) -> tuple[float, ...]:
        """In the choice: AP, and that of draws of the images."""
        results = self.rescorer.metrics(self.network, subnet).results
        truth = self.rescored.ground_truth()
        drawn = resampled_ap(truth, results, resamples=self.config.rescore.resamples, seed=_RESAMPLING_SEED)
        return tuple(drawn.tolist())

    def ap_identity(self) -> dict[str, Any]:
        """All that `ap` of a subnet depends on."""
        return self._identity(self.searched, self.config.calibration_images, self.config.score.precision)

    def int8_ap_identity(self) -> dict[str, Any]:
        """All that `int8_ap` of a subnet depends on."""
        return self._identity(self.searched, self.config.calibration_images, "int8")

    def resampled_identity(self) -> dict[str, Any]:
        """All that its resamples depend on."""
        rescore = self.config.rescore
        identity = self._identity(self.rescored, rescore.calibration_images, self.config.score.chosen_in)
        return {**identity, "resamples": rescore.resamples, "resampling_seed": _RESAMPLING_SEED}

    def _identity(self, scored: CocoDataset, calibration_images: int, precision: ScorePrecision) -> dict[str, Any]:
        return {
            "supernet_sha256": model_sha256(self.config.supernet),  # Of the file, whose header has the space, too.
            "calibration_sha256": self.fit.fingerprint(),
            "calibration_images": calibration_images,
            "calibration_augmentation": to_plain(self.augmentation),
            "holdout_sha256": hashlib.sha256(json.dumps(scored.ground_truth()).encode()).hexdigest(),
            "scored_as": precision,
        }


def divided(holdout: CocoDataset, share: float) -> tuple[CocoDataset, CocoDataset]:
    """Held-out images for the search and, at even distances, this share of them for the choice.

    Args:
        holdout: all of them.
        share: of the choice; 0 gives both all images.

    Raises:
        ValueError: too few images, or no object in either part.
    """
    if share == 0:
        return holdout, holdout
    positions = np.arange(len(holdout))
    chosen = np.floor((positions + 1) * share) > np.floor(positions * share)
    parts = holdout.subset(positions[~chosen]), holdout.subset(positions[chosen])
    for part in parts:
        if len(part) == 0 or len(part.objects().boxes) == 0:
            raise ValueError(
                f"expected held-out images with objects for the search and for the choice behind it, found "
                f"{len(holdout)} images in all; set rescore.share to 0, or hold out more when training"
            )
    return parts
