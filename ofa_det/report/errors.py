"""What a detector mistakes for what, and the images it gets worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.data.annotations import Annotations
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.detection.boxes import pairwise_iou

MATCH_IOU = 0.5
LEAST_SCORE = 0.05
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
NOTHING, IGNORED = -1, -2
"""What a detection matches beside an object: no object, or a region that counts for nothing."""


@dataclass(frozen=True, kw_only=True)
class ImageErrors:
    """Errors on one image at the threshold.

    Args:
        file_name: of the image.
        index: its position in the data set.
        missed: objects that no detection of any class meets.
        false: detections that meet no object.
        confused: objects that are met as another class.
    """

    file_name: str
    index: int
    missed: int
    false: int
    confused: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.missed + self.false + self.confused


@dataclass(frozen=True, kw_only=True)
class DetectorErrors:
    """`report/errors_CAP.json`: errors of a detector on the validation images.

    Args:
        detections_sha256: of the detections that this was made from.
        threshold: score at which precision and recall are together best; everything here is at it.
        precision, recall: at the threshold, class and place right at IoU 0.5.
        classes: names, by ascending category id.
        confusion: (C + 1) rows of true classes, the last for no object, by (C + 1) columns of found ones, the last for
            nothing found.
        worst: the images with most errors, the worst first.
        pictures: file of each of them, relative to the build's folder.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    detections_sha256: str
    threshold: float
    precision: float
    recall: float
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    worst: tuple[ImageErrors, ...]
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """Detections of one image, the surest first, and what each meets.

    Args:
        boxes: (D, 4) xyxy, normalised.
        labels: (D,) positions of their categories.
        scores: (D,).
        matches: (D,) the object that each meets, `NOTHING` or `IGNORED`.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    matches: NDArray[np.int64]


def match(annotations: Annotations, boxes: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gives every detection an object, the surest first; one of its own class before others, then the best placed.

    A match depends on the surer detections alone, so that those above any threshold match as if they were all.

    Args:
        annotations: of the image.
        boxes: (D, 4) xyxy, normalised, by descending score.
        labels: (D,) positions of their categories.

    Returns:
        (D,) index of the object, `NOTHING`, or `IGNORED` for a detection that lies in an ignored region.
    """
    iou = pairwise_iou(torch.from_numpy(boxes), torch.from_numpy(annotations.boxes)).numpy()
    free = ~annotations.ignored
    matches = np.full(len(boxes), NOTHING, np.int64)
    for row in range(len(boxes)):
        met = np.flatnonzero(free & (iou[row] >= MATCH_IOU))
        if len(met):
            own = annotations.labels[met] == labels[row]
            best = met[np.lexsort((iou[row, met], own))[-1]]
            matches[row], free[best] = best, False
        elif _inside(boxes[row], annotations.boxes[annotations.ignored]):
            matches[row] = IGNORED
    return matches


def find_errors(
    dataset: CocoDataset, results: Sequence[Mapping[str, Any]], *, detections_sha256: str, most_images: int = 6
) -> tuple[DetectorErrors, list[Found]]:
    """Matches all detections, chooses the threshold, and counts.

    Args:
        dataset: the images that were scored.
        results: detections in COCO result format.
        detections_sha256: hash of their file.
        most_images: of the worst ones.

    Returns:
        The errors, and the matched detections of every image.
    """
    found = matched_detections(dataset, results)
    truths = [dataset.annotations(index) for index in range(len(dataset))]
    threshold, precision, recall = best_threshold(found, truths)
    num_classes = len(dataset.categories)
    confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    images = []
    for index, (detections, truth) in enumerate(zip(found, truths, strict=True)):
        rows = np.flatnonzero((detections.scores >= threshold) & (detections.matches != IGNORED))
        met = detections.matches[rows]
        true = np.where(met == NOTHING, num_classes, truth.labels[met] if len(truth.labels) else num_classes)
        np.add.at(confusion, (true, detections.labels[rows]), 1)
        missed = np.setdiff1d(np.flatnonzero(~truth.ignored), met)
        np.add.at(confusion, (truth.labels[missed], np.full(len(missed), num_classes)), 1)
        images.append(
            ImageErrors(
                file_name=dataset.file_name(index),
                index=index,
                missed=len(missed),
                false=int((met == NOTHING).sum()),
                confused=int(((met != NOTHING) & (true != detections.labels[rows])).sum()),
            )
        )
    worst = sorted((image for image in images if image.count), key=lambda image: (-image.count, image.index))
    errors = DetectorErrors(
        detections_sha256=detections_sha256,
        threshold=threshold,
        precision=precision,
        recall=recall,
        classes=tuple(category.name for category in dataset.categories),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        worst=tuple(worst[:most_images]),
    )
    return errors, found


def matched_detections(dataset: CocoDataset, results: Sequence[Mapping[str, Any]]) -> list[Found]:
    """The detections of every image with what they meet, those of next to no score left out."""
    labels_of = {category.id: label for label, category in enumerate(dataset.categories)}
    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for result in results:
        if result["score"] >= LEAST_SCORE and result["category_id"] in labels_of:
            by_image.setdefault(result["image_id"], []).append(result)
    found = []
    for index in range(len(dataset)):
        own = sorted(by_image.get(dataset.image_id(index), []), key=lambda result: -result["score"])
        height, width = dataset.image_size(index)
        xywh = np.array([result["bbox"] for result in own], np.float64).reshape(-1, 4)
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        boxes = (corners / [width, height, width, height]).astype(np.float32)
        labels = np.array([labels_of[result["category_id"]] for result in own], np.int64)
        scores = np.array([result["score"] for result in own], np.float64)
        matches = match(dataset.annotations(index), boxes, labels)
        found.append(Found(boxes=boxes, labels=labels, scores=scores, matches=matches))
    return found


def best_threshold(found: Sequence[Found], truths: Sequence[Annotations]) -> tuple[float, float, float]:
    """The threshold of the highest F1, with its precision and recall; of equal ones the lowest."""
    objects = sum(int((~truth.ignored).sum()) for truth in truths)
    scores, right = [], []
    for detections, truth in zip(found, truths, strict=True):
        counted = detections.matches != IGNORED
        met = detections.matches[counted]
        scores.append(detections.scores[counted])
        labels = truth.labels[met] if len(truth.labels) else np.full(len(met), NOTHING)
        right.append((met != NOTHING) & (labels == detections.labels[counted]))
    all_scores, all_right = np.concatenate([[], *scores]), np.concatenate([np.zeros(0, np.bool_), *right])
    best = (-1.0, THRESHOLDS[0], 0.0, 0.0)
    for threshold in THRESHOLDS:
        shown = all_scores >= threshold
        hits = int(all_right[shown].sum())
        f1 = 2 * hits / max(1, int(shown.sum()) + objects)
        if f1 > best[0]:
            best = (f1, threshold, hits / max(1, int(shown.sum())), hits / max(1, objects))
    return best[1:]


def _inside(box: NDArray[np.float32], regions: NDArray[np.float32]) -> bool:
    """Whether half of a box lies in some region."""
    low, high = np.maximum(box[:2], regions[:, :2]), np.minimum(box[2:], regions[:, 2:])
    shared = (high - low).clip(0).prod(axis=1)
    return bool((shared >= 0.5 * (box[2:] - box[:2]).clip(1e-9).prod()).any())
