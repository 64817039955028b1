"""Object classes of a data set, and which class index of an exported file stands for which.

Labels are positions among the categories; category ids may have gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

ClassNumbering = Literal["competition", "compact"]
"""Of a `.tflite` file: a column for every category id up to the greatest, or one for every category."""

UNUSED_NAME = "???"
"""What the COCO label map writes for a class that no object has."""

# Ids far above the number of categories would fill the class predictors with unused columns.
_MAX_UNUSED_RATIO = 4
_ALWAYS_ALLOWED_ID = 100


@dataclass(frozen=True, kw_only=True, order=True)
class Category:
    """One object class.

    Args:
        id: the id in the annotation file.
        name: what it is called.
    """

    id: int
    name: str


def check_categories(found: Sequence[Category], expected: Sequence[Category], *, source: str, of: str) -> None:
    """Refuses to mix data of other object classes with a network.

    Args:
        found: categories of the data.
        expected: categories of the network or of its training data.
        source: where `found` stands.
        of: what `expected` belongs to.

    Raises:
        ValueError: they differ.
    """
    if tuple(found) != tuple(expected):
        other = next((pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]), None)
        detail = f"{other[0].id} {other[0].name!r} for {other[1].id} {other[1].name!r}" if other else f"{len(found)}"
        raise ValueError(
            f"expected the {len(expected)} categories of {of} in {source}, found {detail}; use the same categories"
        )


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

    def __len__(self) -> int:
        return len(self.labels)

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
    if min(ids) < 1 or max(ids) > max(_ALWAYS_ALLOWED_ID, _MAX_UNUSED_RATIO * len(ids)):
        return label_columns(categories)
    label_of_class = {id_ - 1: label for label, id_ in enumerate(ids)}
    labels = tuple(label_of_class.get(index) for index in range(max(label_of_class) + 1))
    return ClassColumns(
        labels=labels,
        category_ids=tuple(None if label is None else categories[label].id for label in labels),
        names=tuple(UNUSED_NAME if label is None else categories[label].name for label in labels),
    )


def check_numbering(numbering: str) -> None:
    """Refuses what is no `ClassNumbering`.

    Raises:
        ValueError: naming those there are.
    """
    if numbering not in get_args(ClassNumbering):
        raise ValueError(f"expected a classes of {', '.join(get_args(ClassNumbering))}, found {numbering!r}")


def label_columns(categories: Sequence[Category]) -> ClassColumns:
    """Class = label."""
    return ClassColumns(
        labels=tuple(range(len(categories))),
        category_ids=tuple(category.id for category in categories),
        names=tuple(category.name for category in categories),
    )
