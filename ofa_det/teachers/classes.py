"""Which category each class of a teacher's file stands for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import read_lines
from ofa_det.artefacts.manifest import LABELS_FILE
from ofa_det.teachers.coco_categories import coco_classes

logger = logging.getLogger(__name__)

COCO_LABELS = {"coco80": 80, "coco90": 90, "coco91": 91}
"""Names that stand for a list of labels, and how many classes it has, see `coco_classes`."""


@dataclass(frozen=True, kw_only=True)
class TeacherClasses:
    """The classes of a teacher's file.

    Args:
        columns: the category of each class, None for one that is not used.
        source: where the names come from.
    """

    columns: tuple[Category | None, ...]
    source: str

    def __post_init__(self) -> None:
        if not self.categories:
            raise ValueError(f"expected a named class in {self.source}, found none")

    @property
    def categories(self) -> tuple[Category, ...]:
        """Of the classes that are used, in their order."""
        return tuple(category for category in self.columns if category is not None)

    @property
    def used(self) -> NDArray[np.int64]:
        """(C,) which class each of `categories` is."""
        return np.array([index for index, category in enumerate(self.columns) if category is not None], np.int64)


def find_classes(path: Path, *, count: int | None, labels: str | None) -> TeacherClasses:
    """The classes of a file that does not know their names itself.

    A list of labels has a name a line: line k names class k, or class k + 1 if there is a line less than classes, which
    then begin with the background. Without a list, 80, 90 and 91 classes are COCO's. A log line says what was taken.

    Args:
        path: the file.
        count: of its classes; None if it does not tell.
        labels: list of labels, or one of coco80, coco90, coco91; by default `labels.txt` beside the file, if there is
            one.

    Raises:
        FileNotFoundError: no such list.
        ValueError: nothing tells the names, or the list has another number of lines.
    """
    classes = _classes(path, count, labels)
    logger.info("%s: names of %d classes: %s", path.name, len(classes.categories), classes.source)
    return classes


def _classes(path: Path, count: int | None, labels: str | None) -> TeacherClasses:
    if labels in COCO_LABELS:
        found = coco_classes(COCO_LABELS[labels])
        assert found is not None
        if count not in (None, len(found)):
            raise ValueError(f"expected labels of the {count} classes of {path}, found {labels} of {len(found)}")
        return TeacherClasses(columns=found, source=f"COCO's, as --labels {labels}")
    if labels is not None and not Path(labels).is_file():
        known = ", ".join(COCO_LABELS)
        raise FileNotFoundError(f"expected a list of labels or one of {known}, found nothing at {labels}")
    beside = path.with_name(LABELS_FILE)
    if labels is not None or beside.is_file():
        return _listed(path, count, beside if labels is None else Path(labels))
    columns = None if count is None else coco_classes(count)
    if columns is None:
        found_count = "no number of classes" if count is None else f"{count} classes"
        raise ValueError(
            f"expected {LABELS_FILE} beside {path} to name its classes, found {found_count} and no names; pass "
            f"--labels with a name a line, or for COCO's one of {', '.join(COCO_LABELS)}"
        )
    return TeacherClasses(columns=columns, source=f"COCO's, since there are {count}")


def _listed(path: Path, count: int | None, file: Path) -> TeacherClasses:
    names = [line.strip() for line in read_lines(file)]
    categories: list[Category | None] = [
        Category(id=line, name=name) if name.strip("?") else None for line, name in enumerate(names, 1)
    ]
    if count == len(names) + 1:
        categories.insert(0, None)
    elif count not in (None, len(names)):
        raise ValueError(f"expected a label for each of the {count} classes of {path}, found {len(names)} in {file}")
    return TeacherClasses(columns=tuple(categories), source=str(file))
