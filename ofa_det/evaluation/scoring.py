"""Runs a detector over a data set and scores it, the same way whatever runs the detector."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.detection.detections import Detections, Predictor
from ofa_det.evaluation.engines import Engine
from ofa_det.evaluation.metrics import Metrics, coco_metrics
from ofa_det.evaluation.side_by_side import SideBySide
from ofa_det.models.ranks import ALONE, Ranks

logger = logging.getLogger(__name__)

BATCH_SIZE = 8

# Rounding before scoring, so that the file of detections gives exactly the numbers reported with it.
_BOX_DECIMALS = 3
_SCORE_DECIMALS = 6


def score(
    predictor: Predictor,
    dataset: CocoDataset,
    *,
    batches: Iterable[NDArray[np.uint8]] | None = None,
    progress: bool = False,
    ranks: Ranks = ALONE,
    engine: Engine = "hotcoco",
) -> Metrics:
    """Scores a detector on every image of a data set.

    Images are stretched to the detector's input, as OVIC does, and boxes are taken as the detector gives them, not
    clipped to the image.

    Args:
        predictor: the detector.
        dataset: images and ground truth.
        batches: this rank's images of the data set, see `share_of`, in order, (B, H, W, 3) RGB of the predictor's input
            size; by default they are read.
        progress: show a progress bar.
        ranks: that score it together, each with a predictor of its own that is the same; all get all detections.
        engine: what computes the metrics.

    Returns:
        The metrics, with the detections they are made from.

    Raises:
        ValueError: no object to find in the data set.
    """
    ground_truth = dataset.ground_truth()
    results: list[dict[str, Any]] = []
    share = share_of(dataset, ranks)
    detections = predictions(predictor, share, batches)
    bar = tqdm(detections, total=len(share), desc="evaluate", unit="image", disable=not (progress and ranks.first))
    for index, found in enumerate(bar):
        results += coco_results(found, share.image_id(index), share.image_size(index))
    results = ranks.gather_lists(results)
    known = {category.id for category in dataset.categories}
    if results and not any(result["category_id"] in known for result in results):
        logger.warning(
            "none of %d detections is of a category of the data set; was the detector trained on other categories?",
            len(results),
        )
    return coco_metrics(ground_truth, results, engine=engine)


def share_of(dataset: CocoDataset, ranks: Ranks) -> CocoDataset:
    """The images that a rank scores: whole batches, so that all ranks together run exactly those of a single one."""
    if ranks.count == 1:
        return dataset
    batches = ranks.share(-(-len(dataset) // BATCH_SIZE))
    return dataset.subset(np.arange(batches.start * BATCH_SIZE, min(batches.stop * BATCH_SIZE, len(dataset))))


def predictions(
    predictor: Predictor, dataset: CocoDataset, batches: Iterable[NDArray[np.uint8]] | None = None
) -> Iterator[Detections]:
    """Yields the detections of every image, in the order of the data set."""
    if batches is None:
        batches = image_batches(dataset, size=predictor.input_size, batch_size=BATCH_SIZE)
    if isinstance(predictor, SideBySide):
        yield from predictor.predict_all(batches)
        return
    for images in batches:
        yield from predictor.predict(images)


def coco_results(detections: Detections, image_id: int, image_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Detections of one image in COCO result format.

    Args:
        detections: normalised to the image.
        image_id: the image's id.
        image_size: its (height, width), in pixels.

    Returns:
        Entries with image_id, category_id, bbox (x, y, width, height in pixels) and score.
    """
    height, width = image_size
    boxes = detections.boxes.astype(np.float64) * (width, height, width, height)
    boxes[:, 2:] -= boxes[:, :2]
    return [
        {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
        for category_id, box, score in zip(
            detections.category_ids.tolist(),
            boxes.round(_BOX_DECIMALS).tolist(),
            detections.scores.astype(np.float64).round(_SCORE_DECIMALS).tolist(),
            strict=True,
        )
    ]
