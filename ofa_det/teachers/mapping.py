"""A teacher's categories to those of a data set, by their names."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ofa_det.arch.classes import Category
from ofa_det.teachers.teacher import TeacherDetections, suppressed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CategoryMapping:
    """Which of a teacher's categories stand for which of a data set's.

    Args:
        categories: of the data set, C of them.
        columns: for each of them the teacher's categories that mean it, by position; the best score counts.
        dropped: names of the teacher's that mean none; boxes of these alone are left out.
        missing: names of the data set's that the teacher does not know.
    """

    categories: tuple[Category, ...]
    columns: tuple[tuple[int, ...], ...]
    dropped: tuple[str, ...]
    missing: tuple[str, ...]

    def apply(self, detections: TeacherDetections) -> TeacherDetections:
        """The detections, with scores (N, C) of the data set's categories, suppressed anew among these."""
        scores = np.zeros((len(detections), len(self.columns)), np.float32)
        for label, columns in enumerate(self.columns):
            if columns:
                scores[:, label] = detections.scores[:, list(columns)].max(axis=1)
        return suppressed(detections.boxes, scores)

    def log(self) -> None:
        """Tells what has no counterpart."""
        matched = len(self.categories) - len(self.missing)
        logger.info("the teacher knows %d of %d categories of the data set", matched, len(self.categories))
        if self.dropped:
            logger.info(
                "left out, since the data set has none of that name: %s; labels.json has them", _few(self.dropped)
            )
        if self.missing:
            logger.warning("categories that the teacher never labels: %s", ", ".join(self.missing))


def map_categories(
    teacher: Sequence[Category], dataset: Sequence[Category], aliases: Mapping[str, str] | None = None
) -> CategoryMapping:
    """Maps categories of equal names; case, spaces, underscores and hyphens do not count.

    Args:
        teacher: its categories, in the order of its scores.
        dataset: those of the data set, in the order of its labels.
        aliases: names of the teacher's to those of the data set's, where they differ; several may go to one.

    Raises:
        ValueError: nothing matches, an alias of an unknown name, or a data set with two categories of one name.
    """
    labels = {comparable(category.name): label for label, category in enumerate(dataset)}
    if len(labels) < len(dataset):
        names = sorted(category.name for category in dataset)
        raise ValueError(f"expected categories of different names in the data set, found {', '.join(names)}")
    renamed = {comparable(name): comparable(other) for name, other in (aliases or {}).items()}
    _check_aliases(aliases or {}, teacher, dataset)
    columns: list[list[int]] = [[] for _ in dataset]
    dropped = []
    for column, category in enumerate(teacher):
        name = comparable(category.name)
        label = labels.get(renamed.get(name, name))
        if label is None:
            dropped.append(category.name)
        else:
            columns[label].append(column)
    if not any(columns):
        known, wanted = _few(_names(teacher)), _few(_names(dataset))
        raise ValueError(
            f"expected categories that teacher and data set share, found {known} and {wanted}; pass --aliases with the "
            "teacher's names and the data set's"
        )
    return CategoryMapping(
        categories=tuple(dataset),
        columns=tuple(map(tuple, columns)),
        dropped=tuple(dropped),
        missing=tuple(category.name for category, found in zip(dataset, columns, strict=True) if not found),
    )


def comparable(name: str) -> str:
    """What names of one meaning have in common."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def _check_aliases(aliases: Mapping[str, str], teacher: Sequence[Category], dataset: Sequence[Category]) -> None:
    for side, names, categories in (("teacher", aliases, teacher), ("data set", aliases.values(), dataset)):
        known = {comparable(category.name) for category in categories}
        for name in names:
            if comparable(name) not in known:
                raise ValueError(
                    f"expected aliases of the {side}'s categories {_few(_names(categories))}, found {name!r}"
                )


def _names(categories: Sequence[Category]) -> list[str]:
    return [category.name for category in categories]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)})" if len(names) > 8 else "")
