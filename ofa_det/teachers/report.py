"""How good a teacher's labels are, where there is ground truth: AP, precision and recall at thresholds, pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import MetricsRecord
from ofa_det.artefacts.records import write_record
from ofa_det.data.annotations import Annotations
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.detection.boxes import area, pairwise_intersection, pairwise_iou
from ofa_det.detection.detections import Detections
from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.pictures import contact_sheet, write_picture
from ofa_det.evaluation.scoring import coco_results
from ofa_det.teachers.label_file import StoredDetections, TeacherLabels
from ofa_det.teachers.teacher import MIN_SCORE

REPORT_FOLDER = "report"
THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))
PICTURE_THRESHOLD = 0.3
MATCH_IOU = 0.5
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
class _Matches:
    """One image: its labels' scores, labels and whether they are right, and the labels of its objects.

    Args:
        scores: (N,) of the best class.
        labels: (N,).
        right: (N,) whether an object was found; labels on ignored regions are left out.
        objects: (G,) labels of the objects.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]
    objects: NDArray[np.int64]

    def counts(self, threshold: float) -> tuple[int, int, int]:
        """Right, wrong and missed, at a threshold."""
        kept = self.scores >= threshold
        right = int((kept & self.right).sum())
        return right, int(kept.sum()) - right, len(self.objects) - right


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
    results = [
        result
        for index, stored in enumerate(found)
        for result in coco_results(
            _pairs(stored, dataset.categories), dataset.image_id(index), dataset.image_size(index)
        )
    ]
    metrics = coco_metrics(dataset.ground_truth(), results).record
    missing = set(labels.header.mapping.missing)
    known = [entry.AP for entry in metrics.classes if entry.AP is not None and entry.name not in missing]
    matches = [match(stored, dataset.annotations(index)) for index, stored in enumerate(found)]
    report = TeacherReport(
        metrics=metrics,
        known_ap=float(np.mean(known)) if known else None,
        thresholds=_threshold_rows(matches, dataset.categories),
        unreadable=len(labels) - len(readable),
    )
    write_record(folder / "report.json", report)
    write_atomically(folder / "thresholds.csv", _csv(report.thresholds))
    _write_pictures(dataset, found, matches, folder)
    return report


def match(stored: StoredDetections, annotations: Annotations) -> _Matches:
    """Labels by descending score take the object of their class that they overlap most, if no other has (COCO's rule).

    Those that find none but lie in an ignored region, with half of their area, are left out.

    Args:
        stored: labels of one image.
        annotations: its ground truth.
    """
    boxes, labels = torch.from_numpy(stored.boxes), stored.classes[:, 0]
    objects = ~annotations.ignored
    truth, classes = torch.from_numpy(annotations.boxes[objects]), annotations.labels[objects]
    overlaps = pairwise_iou(boxes, truth).numpy() * (labels[:, None] == classes)
    right = np.zeros(len(stored), np.bool_)
    for row in range(len(stored)):
        if len(classes) and overlaps[row].max() >= MATCH_IOU:
            right[row] = True
            overlaps[:, overlaps[row].argmax()] = 0
    regions = torch.from_numpy(annotations.boxes[annotations.ignored])
    inside = pairwise_intersection(boxes, regions) / area(boxes)[:, None].clamp(min=1e-12)
    same_class = labels[:, None] == annotations.labels[annotations.ignored]
    kept = right | ~((inside.numpy() >= MATCH_IOU) & same_class).any(axis=1)
    return _Matches(scores=stored.scores[kept, 0], labels=labels[kept], right=right[kept], objects=classes)


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
    ids = np.array([category.id for category in categories], np.int64)
    return Detections(boxes=stored.boxes, scores=stored.scores[:, 0], category_ids=ids[stored.classes[:, 0]])


def _threshold_rows(matches: Sequence[_Matches], categories: Sequence[Category]) -> tuple[ThresholdRow, ...]:
    scores = np.concatenate([image.scores for image in matches])
    labels = np.concatenate([image.labels for image in matches])
    right = np.concatenate([image.right for image in matches])
    objects = np.concatenate([image.objects for image in matches])
    rows = []
    for label, name in [(None, "all"), *((label, category.name) for label, category in enumerate(categories))]:
        of_class = np.ones(len(labels), np.bool_) if label is None else labels == label
        total = len(objects) if label is None else int((objects == label).sum())
        for threshold in THRESHOLDS:
            kept = of_class & (scores >= threshold)
            count, hits = int(kept.sum()), int((kept & right).sum())
            rows.append(
                ThresholdRow(
                    category=name,
                    threshold=threshold,
                    precision=hits / count if count else None,
                    recall=hits / total if total else None,
                    right=hits,
                    wrong=count - hits,
                    missed=total - hits,
                )
            )
    return tuple(rows)


def _csv(rows: Sequence[ThresholdRow]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(vars(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    return text.getvalue()


def _write_pictures(
    dataset: CocoDataset, found: Sequence[StoredDetections], matches: Sequence[_Matches], folder: Path
) -> None:
    ranked = []
    for index, image in enumerate(matches):
        right, wrong, missed = image.counts(PICTURE_THRESHOLD)
        if right + wrong + missed:
            # By F1, then by how many labels and objects speak for it.
            ranked.append((2 * right / (2 * right + wrong + missed), right - wrong - missed, index))
    ranked.sort()
    for name, chosen in (("disagreements", ranked[:_PICTURES]), ("agreements", ranked[::-1][:_PICTURES])):
        if chosen:
            indices = [index for *_, index in chosen]
            shown = _Recorded([_best(found[index], dataset.categories) for index in indices])
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
