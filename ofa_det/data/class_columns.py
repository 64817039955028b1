"""Which class index of an exported file stands for which category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ofa_det.arch.detector import DetectorConfig
from ofa_det.data.categories import Category

UNUSED_NAME = "???"
"""What the COCO label map writes for a class that no object has."""

# Ids far above the number of categories would fill the class predictors with unused columns.
_MAX_UNUSED_RATIO = 4
_ALWAYS_ALLOWED_ID = 100


@dataclass(frozen=True, kw_only=True)
class ClassColumns:
    """The score columns of a file, one a class index.

    Args:
        labels: the detector's label in each column, None in an unused one.
        category_ids: the category id of each column, None for an unused one.
        names: the category name of each column, `???` for an unused one.
    """

    labels: tuple[int | None, ...]
    category_ids: tuple[int | None, ...]
    names: tuple[str, ...]

    @property
    def has_unused(self) -> bool:
        """Whether a column belongs to no category."""
        return None in self.labels

    def label_map(self) -> str:
        """The content of `labels.txt`: line k (from 0) names class k."""
        return "".join(f"{name}\n" for name in self.names)


def class_columns(categories: Sequence[Category]) -> ClassColumns:
    """Class = category id - 1, as OVIC and the COCO label map have it.

    With an id below 1, or one above both 100 and four times the number of categories, classes are the labels instead,
    and only the manifest tells their categories.

    Args:
        categories: in the order of the labels.
    """
    ids = [category.id for category in categories]
    by_id = min(ids) >= 1 and max(ids) <= max(_ALWAYS_ALLOWED_ID, _MAX_UNUSED_RATIO * len(ids))
    label_of_class = {id_ - 1 if by_id else label: label for label, id_ in enumerate(ids)}
    labels = tuple(label_of_class.get(index) for index in range(max(label_of_class) + 1))
    return ClassColumns(
        labels=labels,
        category_ids=tuple(None if label is None else categories[label].id for label in labels),
        names=tuple(UNUSED_NAME if label is None else categories[label].name for label in labels),
    )


def as_exported(detector: DetectorConfig, categories: Sequence[Category]) -> DetectorConfig:
    """The detector with the score columns that its exported file has: what a phone runs, and its latency is of."""
    return replace(detector, num_classes=len(class_columns(categories).labels))
