"""AP of the file against what its manifest claims, and against the network that it was made from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ofa_det.artefacts.manifest import Manifest
from ofa_det.artefacts.model_file import MODEL_FILE, model_sha256
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import spread
from ofa_det.evaluation.metrics import Metrics, coco_metrics
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.run_folder import load_detector
from ofa_det.submission.claims import TorchEntry

logger = logging.getLogger(__name__)

SAME_FILE_TOLERANCE = 0.002
"""Difference of AP that other versions of the runtime may make on the same file and images."""


def check_accuracy_claims(
    metrics: Metrics, dataset: CocoDataset, manifest: Manifest | None, *, ap_tolerance: float, least_ap: float
) -> TorchEntry | None:
    """Refuses a file whose AP is not what its manifest claims.

    Args:
        metrics: of the file on the data set.
        dataset: the images.
        manifest: of the file.
        ap_tolerance: largest fall from what torch had, as a fraction.
        least_ap: AP below which a file is of no use, as a fraction.

    Returns:
        What the manifest says of torch, where that is of images of the data set.

    Raises:
        ValueError: another AP than claimed, or a fall.
    """
    if metrics.ap < least_ap:
        raise ValueError(
            f"expected an AP of {100 * least_ap:.1f} % at least, found {100 * metrics.ap:.2f} % on {len(dataset)} "
            f"images; are these the data that it was trained for, or lower --least_ap, now {least_ap:g}"
        )
    if manifest is None or manifest.accuracy is None:
        if manifest is not None:
            logger.warning("the manifest claims no AP (export --verify none); there is nothing to compare with")
        return None
    claimed = manifest.accuracy
    shown = _images_of_the_claim(dataset, manifest)
    if shown is None:
        logger.warning("the manifest's AP is of other images than these; it was not compared")
        return None
    found = metrics.ap if len(shown) == len(dataset) else _restricted(metrics, shown).ap
    if claimed.after.AP is None or abs(found - claimed.after.AP) > SAME_FILE_TOLERANCE:
        raise ValueError(
            f"expected AP {claimed.after.AP} of the file, as its manifest claims on {len(shown)} images, found "
            f"{found:.4f}; export it again"
        )
    before = claimed.before.AP or 0.0
    entry = TorchEntry(
        source="manifest",
        images=len(shown),
        images_sha256=claimed.images_sha256,
        torch_ap=before,
        file_ap=found,
    )
    _refuse_fall(entry, ap_tolerance)
    return entry


def score_torch(
    metrics: Metrics,
    dataset: CocoDataset,
    manifest: Manifest | None,
    *,
    images: int | None,
    ap_tolerance: float,
    progress: bool,
) -> TorchEntry | None:
    """Scores the run folder that a manifest names, where it is still there.

    Args:
        metrics: of the file on the data set.
        dataset: the images.
        manifest: of the file.
        images: of the data set, spread evenly; None for all, 0 for none.
        ap_tolerance: largest fall from torch to the file, as a fraction.
        progress: show a progress bar.

    Raises:
        ValueError: other weights in the run folder, or a fall.
    """
    if manifest is None or images == 0:
        return None
    folder = Path(manifest.source.run_folder)
    if not (folder / MODEL_FILE).is_file():
        logger.warning("the run folder %s that the file was made from is not here; torch was not scored", folder)
        return None
    if (found := model_sha256(folder)) != manifest.source.weights_sha256:
        raise ValueError(
            f"expected in {folder} the weights that the file was made from, sha256 "
            f"{manifest.source.weights_sha256:.12}, found {found:.12}; export it again, or --torch_images 0"
        )
    trained = load_detector(folder)
    description = replace(trained.description, postprocess=manifest.postprocess)
    shown = dataset.subset(np.array(spread(len(dataset), images), np.int64))
    logger.info("scoring %s on %d images beside the file", folder, len(shown))
    before = score(TorchDetector(trained.network, description), shown, progress=progress)
    after = metrics if len(shown) == len(dataset) else _restricted(metrics, shown)
    entry = TorchEntry(
        source="run folder",
        images=len(shown),
        images_sha256=shown.fingerprint(),
        torch_ap=before.ap,
        file_ap=after.ap,
    )
    _refuse_fall(entry, ap_tolerance)
    return entry


def _refuse_fall(entry: TorchEntry, tolerance: float) -> None:
    if entry.torch_ap - entry.file_ap > tolerance:
        raise ValueError(
            f"expected AP to fall by at most {100 * tolerance:.1f} points from torch ({entry.source}) to the file, "
            f"found {100 * entry.torch_ap:.2f} and {100 * entry.file_ap:.2f} on {entry.images} images; export it with "
            "other --ranges, or raise --ap_tolerance"
        )


def _images_of_the_claim(dataset: CocoDataset, manifest: Manifest) -> CocoDataset | None:
    """The images of the data set that the manifest's AP is of; None if they are not among them."""
    assert manifest.accuracy is not None
    wanted = manifest.accuracy.images_sha256
    if dataset.fingerprint() == wanted:
        return dataset
    sample: Mapping[str, object] = manifest.export
    count = sample.get("verification_images")
    if sample.get("verify") != "sample" or not isinstance(count, int):
        return None
    shown = dataset.subset(np.array(spread(len(dataset), count), np.int64))
    return shown if shown.fingerprint() == wanted else None


def _restricted(metrics: Metrics, shown: CocoDataset) -> Metrics:
    """The metrics on a part of the images."""
    ids = {shown.image_id(index) for index in range(len(shown))}
    return coco_metrics(shown.ground_truth(), [result for result in metrics.results if result["image_id"] in ids])
