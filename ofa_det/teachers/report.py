"""How good a teacher's labels are, where there is ground truth: AP, precision and recall at thresholds, pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import MetricsRecord
from ofa_det.artefacts.records import write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.detection.detections import Detections
from ofa_det.evaluation.engines import category_matches
from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.pictures import contact_sheet, write_picture
from ofa_det.evaluation.scoring import coco_results
from ofa_det.teachers.label_file import StoredDetections, TeacherLabels
from ofa_det.teachers.teacher import MIN_SCORE

REPORT_FOLDER = "report"
THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))
PICTURE_THRESHOLD = 0.3
_PICTURES = 6


@dataclass(frozen=True, kw_only=True)
class ThresholdRow:
    """Labels at and above a score, matched with ground truth of their class at IoU 0.5.

    Args:
        category: name; "all" for all together.
        threshold: of the best class's score.
        precision: share of the labels that are right; None without labels.
        recall: share of the objects that are labelled; None without objects.
        right, wrong: labels.
        missed: objects.
    """

    category: str
    threshold: float
    precision: float | None
    recall: float | None
    right: int
    wrong: int
    missed: int


@dataclass(frozen=True, kw_only=True)
class TeacherReport:
    """`report/report.json`.

    Args:
        metrics: COCO's numbers of the labels of whole images as they are stored; a box counts for each of its classes.
        known_ap: mean AP of the categories that the teacher knows; None if there is no object of them.
        thresholds: all categories together first, then each.
        unreadable: images without pixels, which are not scored.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    metrics: MetricsRecord
    known_ap: float | None
    thresholds: tuple[ThresholdRow, ...]
    unreadable: int

    def table(self) -> str:
        """AP, and precision and recall by threshold, in percent."""
        ap, ap50 = (100 * (value or 0.0) for value in (self.metrics.AP, self.metrics.AP50))
        lines = [f"teacher: AP {ap:.1f}, AP50 {ap50:.1f} on {self.metrics.images} whole images", ""]
        lines.append("score >=  precision  recall   right   wrong  missed")
        for row in self.thresholds[: len(THRESHOLDS)]:
            shares = "  ".join(
                f"{'-' if share is None else f'{100 * share:.1f}':>7}" for share in (row.precision, row.recall)
            )
            lines.append(f"{row.threshold:>8.1f}  {shares}  {row.right:>6}  {row.wrong:>6}  {row.missed:>6}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """N labels against the objects of I images and C classes; labels on ignored regions are left out.

    Args:
        scores: (N,).
        labels: (N,) positions of their categories.
        images: (N,) positions of their images.
        right: (N,) whether an object was found.
        objects: (C, I) how many there are.
    """

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    right: NDArray[np.bool_]
    objects: NDArray[np.int64]

    def row(self, category: str, threshold: float, label: int | None = None) -> ThresholdRow:
        """Of one class at a threshold; of all together without a label."""
        of_class = slice(None) if label is None else self.labels == label
        kept = self.scores[of_class] >= threshold
        count, hits = int(kept.sum()), int((kept & self.right[of_class]).sum())
        total = int(self.objects.sum() if label is None else self.objects[label].sum())
        return ThresholdRow(
            category=category,
            threshold=threshold,
            precision=hits / count if count else None,
            recall=hits / total if total else None,
            right=hits,
            wrong=count - hits,
            missed=total - hits,
        )

    def by_image(self, threshold: float) -> NDArray[np.int64]:
        """(I, 3) right and wrong labels at a threshold, and missed objects, of each image."""
        found = np.zeros((self.objects.shape[1], 3), np.int64)
        kept = self.scores >= threshold
        np.add.at(found, (self.images[kept], np.where(self.right[kept], 0, 1)), 1)
        found[:, 2] = self.objects.sum(axis=0) - found[:, 0]
        return found


def write_report(labels: TeacherLabels, dataset: CocoDataset, folder: Path) -> TeacherReport:
    """Compares labels of whole images with ground truth.

    Writes `report.json`, `thresholds.csv`, `agreements.jpg` and `disagreements.jpg`: the images on which labels and
    ground truth agree most and least at a score of 0.3, ground truth on the left.

    Args:
        labels: of all images of the data set, without stored augmentations.
        dataset: with at least one object.
        folder: where to.
    """
    rows = labels.rows_of(dataset)
    readable = np.flatnonzero(labels.readable[rows])
    dataset, rows = dataset.subset(readable), rows[readable]
    found = [labels.of(row) for row in rows.tolist()]
    truth = dataset.ground_truth()
    metrics = coco_metrics(truth, _results(dataset, [_pairs(stored, dataset.categories) for stored in found])).record
    missing = set(labels.header.mapping.missing)
    known = [entry.AP for entry in metrics.classes if entry.AP is not None and entry.name not in missing]
    best = [_best(stored, dataset.categories) for stored in found]
    agreed = agreement(truth, _results(dataset, best))
    named = [("all", None), *((category.name, label) for label, category in enumerate(dataset.categories))]
    report = TeacherReport(
        metrics=metrics,
        known_ap=float(np.mean(known)) if known else None,
        thresholds=tuple(agreed.row(name, threshold, label) for name, label in named for threshold in THRESHOLDS),
        unreadable=len(labels) - len(readable),
    )
    write_record(folder / "report.json", report)
    write_atomically(folder / "thresholds.csv", _csv(report.thresholds))
    _write_pictures(dataset, best, agreed, folder)
    return report


def agreement(ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Agreement:
    """Matches labels with objects of their class by COCO's rules, at IoU 0.5.

    Args:
        ground_truth: a COCO dictionary.
        results: labels on its images in COCO result format.
    """
    # Not a hundred of a class on an image, as AP has it, but all count.
    matches = category_matches(ground_truth, results, most=max(1, len(results)))
    by_id = np.argsort([image["id"] for image in ground_truth["images"]])
    objects = np.zeros((len(matches), len(by_id)), np.int64)
    parts = []
    for label, category in enumerate(matches):
        objects[label, by_id] = category.objects
        kept = ~category.ignored[0]
        labels = np.full(kept.sum(), label, np.int64)
        parts.append((category.scores[kept], labels, by_id[category.images[kept]], category.found[0][kept]))
    scores, labels, images, right = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Agreement(scores=scores, labels=labels, images=images, right=right, objects=objects)


def _results(dataset: CocoDataset, found: Sequence[Detections]) -> list[dict[str, Any]]:
    """Of all images, in COCO result format."""
    return [
        result
        for index, detections in enumerate(found)
        for result in coco_results(detections, dataset.image_id(index), dataset.image_size(index))
    ]


def _pairs(stored: StoredDetections, categories: Sequence[Category]) -> Detections:
    """Each box with each of its classes."""
    ids = np.array([category.id for category in categories], np.int64)
    rows, columns = np.nonzero(stored.scores >= MIN_SCORE)
    order = np.argsort(-stored.scores[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    return Detections(
        boxes=stored.boxes[rows],
        scores=stored.scores[rows, columns],
        category_ids=ids[stored.classes[rows, columns]],
    )


def _best(stored: StoredDetections, categories: Sequence[Category]) -> Detections:
    """Each box with its best class."""
    ids = np.array([category.id for category in categories], np.int64)
    return Detections(boxes=stored.boxes, scores=stored.scores[:, 0], category_ids=ids[stored.classes[:, 0]])


def _csv(rows: Sequence[ThresholdRow]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(vars(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    return text.getvalue()


def _write_pictures(dataset: CocoDataset, best: Sequence[Detections], agreed: Agreement, folder: Path) -> None:
    ranked = []
    for index, (right, wrong, missed) in enumerate(agreed.by_image(PICTURE_THRESHOLD).tolist()):
        if right + wrong + missed:
            # By F1, then by how many labels and objects speak for it.
            ranked.append((2 * right / (2 * right + wrong + missed), right - wrong - missed, index))
    ranked.sort()
    for name, chosen in (("disagreements", ranked[:_PICTURES]), ("agreements", ranked[::-1][:_PICTURES])):
        if chosen:
            indices = [index for *_, index in chosen]
            shown = _Recorded([best[index] for index in indices])
            sheet = contact_sheet(
                dataset.subset(np.array(indices)),
                {f"teacher, score >= {PICTURE_THRESHOLD}": shown},
                limit=len(indices),
                score_threshold=PICTURE_THRESHOLD,
            )
            write_picture(folder / f"{name}.jpg", sheet)


class _Recorded:
    """Gives what was found, image by image, to what draws a predictor's detections."""

    input_size = (8, 8)

    def __init__(self, detections: Sequence[Detections]) -> None:
        self._remaining = iter(detections)

    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Those of the next images, whatever they show."""
        return list(islice(self._remaining, len(images)))
