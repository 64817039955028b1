"""Detections -> COCO metrics, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ofa_det.artefacts.manifest import ClassAp, MetricsRecord

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The twelve numbers, in the order of pycocotools."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Accuracy of a detector on a data set.

    Args:
        record: the numbers.
        results: the detections in COCO result format, boxes in pixels as x, y, width, height.
    """

    record: MetricsRecord
    results: Sequence[Mapping[str, Any]]

    @property
    def ap(self) -> float:
        """Mean AP over IoU 0.50 .. 0.95 and all categories."""
        return self._defined("AP")

    @property
    def ap50(self) -> float:
        """AP at IoU 0.50."""
        return self._defined("AP50")

    def table(self) -> str:
        """The numbers for reading, in percent."""
        lines = ["  ".join(f"{name:>5}" for name in NAMES)]
        lines.append("  ".join(f"{_percent(getattr(self.record, name)):>5}" for name in NAMES))
        lines.append("")
        width = max(len(entry.name) for entry in self.record.classes)
        lines += [f"{entry.name:<{width}}  {_percent(entry.AP):>5}" for entry in self.record.classes]
        return "\n".join(lines)

    def _defined(self, name: str) -> float:
        value: float | None = getattr(self.record, name)
        assert value is not None, "coco_metrics refuses data sets on which this is undefined"
        return value


def coco_metrics(ground_truth: Mapping[str, Any], results: Iterable[Mapping[str, Any]]) -> Metrics:
    """Evaluates detections.

    Args:
        ground_truth: a COCO dictionary with images, annotations (`iscrowd` and `area` among their keys), categories.
        results: detections as image_id, category_id, bbox (x, y, width, height in pixels) and score. Those of
            categories that the ground truth does not know are ignored.

    Returns:
        The metrics.

    Raises:
        ValueError: no object to find, so that AP is undefined, or a detection on an unknown image.
    """
    results = list(results)
    if all(annotation["iscrowd"] for annotation in ground_truth["annotations"]):
        raise ValueError(
            f"expected annotated objects to evaluate on, found none in {len(ground_truth['images'])} images; "
            "use a split with annotations"
        )
    image_ids = {image["id"] for image in ground_truth["images"]}
    unknown = {result["image_id"] for result in results} - image_ids
    if unknown:
        raise ValueError(f"expected detections on images of the data set, found image {min(unknown)}")
    detections = [
        {**result, "id": number, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for number, result in enumerate(results, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress.
        # pycocotools writes into annotations, so both sides are given copies.
        truth = _coco(ground_truth, [dict(annotation) for annotation in ground_truth["annotations"]])
        evaluation = COCOeval(truth, _coco(ground_truth, detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # (IoU thresholds, recalls, categories, areas, detection limits); -1 where there is nothing to find.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    record = MetricsRecord(
        **{name: _value(stat) for name, stat in zip(NAMES, evaluation.stats, strict=True)},
        classes=tuple(
            ClassAp(id=category_id, name=names[category_id], AP=_value(precision[:, :, position].mean()))
            for position, category_id in enumerate(sorted(names))
        ),
        images=len(image_ids),
        detections=len(results),
    )
    return Metrics(record=record, results=results)


def _coco(ground_truth: Mapping[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": ground_truth["images"],
        "categories": ground_truth["categories"],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _value(stat: np.floating[Any] | float) -> float | None:
    return None if stat < 0 else float(stat)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
