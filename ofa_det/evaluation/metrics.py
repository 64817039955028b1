"""Detections -> COCO metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofa_det.artefacts.manifest import ClassAp, MetricsRecord
from ofa_det.evaluation.engines import Engine, box_metrics

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
        lines.append("  ".join(f"{percent(getattr(self.record, name)):>5}" for name in NAMES))
        lines.append("")
        width = max(len(entry.name) for entry in self.record.classes)
        lines += [f"{entry.name:<{width}}  {percent(entry.AP):>5}" for entry in self.record.classes]
        return "\n".join(lines)

    def _defined(self, name: str) -> float:
        value: float | None = getattr(self.record, name)
        assert value is not None, "coco_metrics refuses data sets on which this is undefined"
        return value


def coco_metrics(
    ground_truth: Mapping[str, Any], results: Iterable[Mapping[str, Any]], *, engine: Engine = "hotcoco"
) -> Metrics:
    """Evaluates detections.

    Args:
        ground_truth: a COCO dictionary with images, annotations (`iscrowd` and `area` among their keys), categories.
        results: detections as image_id, category_id, bbox (x, y, width, height in pixels) and score. Those of
            categories that the ground truth does not know are ignored.
        engine: what computes; pycocotools, the reference, takes some fifty times as long for the same numbers.

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
    found = box_metrics(ground_truth, results, engine)
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    record = MetricsRecord(
        **{name: _value(stat) for name, stat in zip(NAMES, found.stats, strict=True)},
        classes=tuple(
            ClassAp(id=category_id, name=names[category_id], AP=_value(found.precision[:, :, position].mean()))
            for position, category_id in enumerate(sorted(names))
        ),
        images=len(image_ids),
        detections=len(results),
    )
    return Metrics(record=record, results=results)


def _value(stat: np.floating[Any] | float) -> float | None:
    return None if stat < 0 else float(stat)


def percent(value: float | None) -> str:
    """AP for reading: in percent with one decimal, `-` where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f}"
