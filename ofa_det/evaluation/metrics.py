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

SCHEMA_VERSION = 1

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The twelve numbers, in the order of pycocotools."""


@dataclass(frozen=True, kw_only=True)
class ClassAp:
    """AP of one category; None where the data set has no object of it."""

    category_id: int
    name: str
    ap: float | None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Accuracy of a detector on a data set.

    Args:
        values: the twelve numbers of COCO as fractions, by the `NAMES`; None where the data set has no object of that
            size.
        classes: AP of every category, by ascending id.
        num_images: images of the data set.
        results: the detections in COCO result format, boxes in pixels as x, y, width, height.
    """

    values: Mapping[str, float | None]
    classes: tuple[ClassAp, ...]
    num_images: int
    results: Sequence[Mapping[str, Any]]

    @property
    def ap(self) -> float:
        """Mean AP over IoU 0.50 .. 0.95 and all categories."""
        return self._defined("AP")

    @property
    def ap50(self) -> float:
        """AP at IoU 0.50."""
        return self._defined("AP50")

    @property
    def ap75(self) -> float:
        """AP at IoU 0.75."""
        return self._defined("AP75")

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON types, without the detections."""
        return {
            "schema_version": SCHEMA_VERSION,
            **self.values,
            "classes": [{"id": entry.category_id, "name": entry.name, "AP": entry.ap} for entry in self.classes],
            "images": self.num_images,
            "detections": len(self.results),
        }

    def table(self) -> str:
        """The numbers for reading, in percent."""
        lines = ["  ".join(f"{name:>5}" for name in NAMES)]
        lines.append("  ".join(f"{_percent(self.values[name]):>5}" for name in NAMES))
        lines.append("")
        width = max(len(entry.name) for entry in self.classes)
        lines += [f"{entry.name:<{width}}  {_percent(entry.ap):>5}" for entry in self.classes]
        return "\n".join(lines)

    def _defined(self, name: str) -> float:
        value = self.values[name]
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
    return Metrics(
        values={name: _value(stat) for name, stat in zip(NAMES, evaluation.stats, strict=True)},
        classes=tuple(
            ClassAp(category_id=category_id, name=names[category_id], ap=_value(precision[:, :, position].mean()))
            for position, category_id in enumerate(sorted(names))
        ),
        num_images=len(image_ids),
        results=results,
    )


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
