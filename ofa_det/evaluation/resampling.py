"""How sure an AP is: the AP of data sets drawn from the images with replacement (bootstrap)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

FloatArray = NDArray[np.float64]

_MOST_DETECTIONS: Final = 100


def resampled_ap(
    ground_truth: Mapping[str, Any], results: Iterable[Mapping[str, Any]], *, resamples: int, seed: int = 0
) -> FloatArray:
    """AP of the images as they are, then of so many draws of as many images with replacement.

    The draws follow from the seed and the number of images, so two detectors are compared on the same draws: the spread
    of the difference is less than that of either. Detections are matched once, by pycocotools.

    Args:
        ground_truth: a COCO dictionary, as of `coco_metrics`.
        results: detections in COCO result format.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        (1 + resamples,) AP as fractions; the first equals pycocotools'. Of a draw without any object it is not a
        number.
    """
    images = sorted({int(image["id"]) for image in ground_truth["images"]})
    matched = _matched(ground_truth, list(results), images)
    rng = np.random.default_rng(seed)
    weights = [np.ones(len(images))]
    weights += [
        np.bincount(rng.integers(0, len(images), len(images)), minlength=len(images)).astype(float)
        for _ in range(resamples)
    ]
    return np.array([_ap(matched, weight) for weight in weights])


class _Category:
    """Detections of one category, the best first, matched to its objects at each IoU threshold.

    Args:
        evaluated: of each image, by its position, what pycocotools found.
    """

    def __init__(self, evaluated: Sequence[tuple[int, Mapping[str, Any]]], thresholds: int) -> None:
        scores = np.concatenate([[], *(found["dtScores"] for _, found in evaluated)])
        order = np.argsort(-scores, kind="mergesort")
        shape = (thresholds, 0)
        matches = np.concatenate([np.zeros(shape), *(found["dtMatches"] for _, found in evaluated)], axis=1)
        ignored = np.concatenate([np.zeros(shape), *(found["dtIgnore"] for _, found in evaluated)], axis=1).astype(bool)
        of_image = [np.full(len(found["dtScores"]), position) for position, found in evaluated]
        self.images = np.concatenate([np.zeros(0, np.int64), *of_image])[order].astype(np.int64)
        self.hits = ((matches > 0) & ~ignored)[:, order]
        self.misses = ((matches == 0) & ~ignored)[:, order]
        self.objects_in = np.array([position for position, _ in evaluated], np.int64)
        self.objects = np.array([np.count_nonzero(np.asarray(found["gtIgnore"]) == 0) for _, found in evaluated])


def _matched(ground_truth: Mapping[str, Any], results: list[Mapping[str, Any]], images: list[int]) -> list[_Category]:
    detections = [
        {**result, "id": number, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for number, result in enumerate(results, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress.
        truth = _coco(ground_truth, [dict(annotation) for annotation in ground_truth["annotations"]])
        evaluation = COCOeval(truth, _coco(ground_truth, detections), "bbox")
        evaluation.params.imgIds = images
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [_MOST_DETECTIONS]
        evaluation.evaluate()
    found = evaluation.evalImgs  # By category, then image.
    thresholds = len(evaluation.params.iouThrs)
    categories = []
    for number in range(len(evaluation.params.catIds)):
        of_images = enumerate(found[number * len(images) : (number + 1) * len(images)])
        categories.append(_Category([(p, one) for p, one in of_images if one is not None], thresholds))
    return categories


def _ap(categories: Sequence[_Category], weights: FloatArray) -> float:
    """Mean precision at 101 recalls over categories with objects, each image counted so many times."""
    aps = []
    for category in categories:
        objects = float((weights[category.objects_in] * category.objects).sum())
        if objects == 0:
            continue
        weight = weights[category.images]
        hits, misses = (np.cumsum(found * weight, axis=1) for found in (category.hits, category.misses))
        precision = hits / np.maximum(hits + misses, np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        aps.append(np.mean([_interpolated(*pair) for pair in zip(hits / objects, precision, strict=True)]))
    return float(np.mean(aps)) if aps else float("nan")


def _interpolated(recall: FloatArray, precision: FloatArray) -> float:
    """Mean precision at the recalls 0, 0.01 .. 1, where they are reached."""
    positions = np.searchsorted(recall, np.linspace(0.0, 1.0, 101), side="left")
    reached = positions < len(precision)
    return float(precision[positions[reached]].sum() / len(positions))


def _coco(ground_truth: Mapping[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": ground_truth["images"],
        "categories": ground_truth["categories"],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
