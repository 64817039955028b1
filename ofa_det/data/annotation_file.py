"""Strict reading of a COCO annotation file.

A file whose structure is not COCO's is refused with one line. Single faults, which large hand-made data sets always
have, are handled by a rule, counted and named:

| found | done |
|---|---|
| image entry repeated (same id, same file) | later one skipped |
| image id used for two files | refused: their annotations cannot be told apart |
| annotation of an unknown image or category | skipped |
| degenerate box: width or height not above 0, or not finite | skipped |
| box wholly outside its image | skipped |
| box that sticks out of its image | clipped; counted if it sticks out by more than 1 px |
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import read_json
from ofa_det.data.annotations import AnnotationTable

logger = logging.getLogger(__name__)

ROUNDING_PX = 1.0
"""Boxes that stick out by no more than this come from rounding and are not worth a warning."""

_NAMED = 3
_MAX_SIDE_PX = 100_000


class Problems:
    """Counts faults by kind, and names the first few of each.

    Args:
        source: the file they are found in.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._names: dict[str, list[str]] = defaultdict(list)
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, kind: str, name: str) -> None:
        """Counts one fault of a kind; `kind` says what was found and done, as in 'degenerate boxes skipped'."""
        self._counts[kind] += 1
        if len(self._names[kind]) < _NAMED:
            self._names[kind].append(name)

    def warn(self) -> None:
        """Logs one warning for each kind."""
        for kind, count in self._counts.items():
            more = ", ..." if count > _NAMED else ""
            logger.warning("%s: %d %s (%s%s)", self._source, count, kind, ", ".join(self._names[kind]), more)


def read_annotation_file(path: str | os.PathLike[str]) -> AnnotationTable:
    """Reads and checks a COCO annotation file; faults are logged as warnings, one for each kind.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON, or its structure is not COCO's.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a COCO annotation file, found nothing at {path}; check the data root")
    content = read_json(path)
    problems = Problems(path.name)
    try:
        if not isinstance(content, dict):
            raise ValueError(f"expected a JSON object, found a {type(content).__name__}")
        categories = _read_categories(_entries(content, "categories"))
        images = _read_images(_entries(content, "images"), problems)
        table = _read_boxes(_entries(content, "annotations"), categories, images, problems)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    problems.warn()
    return table


def _entries(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list):
        found = "nothing" if key not in content else f"a {type(entries).__name__}"
        raise ValueError(f"expected a list '{key}', found {found}")
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"expected objects in '{key}', found {entry!r:.40} at position {position}")
    return entries


_NUMBER = (int, float)


def _field(entry: Mapping[str, Any], key: str, types: type | tuple[type, ...], section: str, position: int) -> Any:
    value = entry.get(key)
    # bool is an int to Python; in an annotation file it is a mistake.
    if not isinstance(value, types) or isinstance(value, bool):
        names = " or ".join(kind.__name__ for kind in (types if isinstance(types, tuple) else (types,)))
        raise ValueError(f"expected '{key}' of type {names} in {section}[{position}], found {value!r:.40}")
    return value


def _read_categories(entries: Sequence[Mapping[str, Any]]) -> tuple[Category, ...]:
    categories = {}
    for position, entry in enumerate(entries):
        category = Category(
            id=_field(entry, "id", int, "categories", position), name=_field(entry, "name", str, "categories", position)
        )
        if category.id in categories:
            raise ValueError(f"expected distinct category ids, found {category.id} twice")
        categories[category.id] = category
    if not categories:
        raise ValueError("expected at least one category, found none")
    return tuple(categories[key] for key in sorted(categories))


def _read_images(entries: Sequence[Mapping[str, Any]], problems: Problems) -> dict[int, tuple[str, int, int]]:
    """Image id -> file name, height, width."""
    images: dict[int, tuple[str, int, int]] = {}
    for position, entry in enumerate(entries):
        image_id = _field(entry, "id", int, "images", position)
        name = _field(entry, "file_name", str, "images", position)
        width, height = (_field(entry, key, _NUMBER, "images", position) for key in ("width", "height"))
        if not (1 <= width <= _MAX_SIDE_PX and 1 <= height <= _MAX_SIDE_PX):
            raise ValueError(
                f"expected a width and height of 1 to {_MAX_SIDE_PX} px in images[{position}], found {width} x {height}"
            )
        if image_id not in images:
            images[image_id] = (name, int(height), int(width))
        elif images[image_id][0] == name:
            problems.add("repeated image entries skipped", f"image {image_id}")
        else:
            raise ValueError(f"expected one image for id {image_id}, found {images[image_id][0]} and {name}")
    if not images:
        raise ValueError("expected at least one image, found none")
    return images


def _read_boxes(
    entries: Sequence[Mapping[str, Any]],
    categories: tuple[Category, ...],
    images: Mapping[int, tuple[str, int, int]],
    problems: Problems,
) -> AnnotationTable:
    image_positions = {image_id: position for position, image_id in enumerate(images)}
    label_of = {category.id: label for label, category in enumerate(categories)}
    used, positions, labels, boxes, crowd, areas = [], [], [], [], [], []
    for position, entry in enumerate(entries):  # COCO has 860,000 of them, so nothing is formatted before it is needed.
        image_id = _field(entry, "image_id", int, "annotations", position)
        category_id = _field(entry, "category_id", int, "annotations", position)
        box = _field(entry, "bbox", list, "annotations", position)
        if len(box) != 4 or not all(type(value) in _NUMBER for value in box):
            raise ValueError(f"expected a 'bbox' of 4 numbers in annotations[{position}], found {box!r:.60}")
        if entry.get("iscrowd", 0) not in (0, 1):
            raise ValueError(
                f"expected 'iscrowd' to be 0 or 1 in annotations[{position}], found {entry['iscrowd']!r:.40}"
            )
        if image_id not in image_positions:
            problems.add("annotations of unknown images skipped", f"{_name(entry, position)} of image {image_id}")
        elif category_id not in label_of:
            kind = "annotations of unknown categories skipped"
            problems.add(kind, f"{_name(entry, position)} of category {category_id}")
        else:
            used.append(position)
            positions.append(image_positions[image_id])
            labels.append(label_of[category_id])
            boxes.append(box)
            crowd.append(entry.get("iscrowd", 0))
            areas.append(_field(entry, "area", _NUMBER, "annotations", position) if "area" in entry else np.nan)

    position_array = np.array(positions, np.int64)
    image_sizes = np.array([size for _, *size in images.values()], np.int64).reshape(-1, 2)
    boxes_px, kept = _checked_boxes(
        np.array(boxes, np.float64).reshape(-1, 4),
        image_sizes[position_array],
        lambda row: _name(entries[used[row]], used[row]),
        problems,
    )
    area_array = np.array(areas, np.float64)
    area_array = np.where(np.isfinite(area_array), area_array, boxes_px[:, 2] * boxes_px[:, 3])
    order = np.argsort(position_array, kind="stable")
    order = order[kept[order]]
    return AnnotationTable(
        categories=categories,
        image_ids=tuple(images),
        file_names=tuple(name for name, *_ in images.values()),
        image_sizes=image_sizes,
        first=np.searchsorted(position_array[order], np.arange(len(images) + 1)),
        boxes_px=boxes_px[order],
        labels=np.array(labels, np.int64)[order],
        crowd=np.array(crowd, np.bool_)[order],
        areas=area_array[order],
    )


def _name(annotation: Mapping[str, Any], position: int) -> str:
    return f"annotation {annotation.get('id', f'at position {position}')}"


def _checked_boxes(
    boxes: NDArray[np.float64], sizes: NDArray[np.int64], name: Callable[[int], str], problems: Problems
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Applies the box rules of this module.

    Args:
        boxes: (M, 4) x, y, width, height in pixels.
        sizes: (M, 2) heights and widths of their images.
        name: names a row in the warnings.
        problems: where faults are counted.

    Returns:
        (M, 4) boxes, clipped where they stick out by more than rounding; (M,) which of them are kept.
    """
    limits = sizes[:, ::-1]
    with np.errstate(invalid="ignore"):  # Not-a-number compares false, which is what is wanted.
        proper = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        clipped_low, clipped_high = np.clip(low, 0, limits), np.clip(high, 0, limits)
        # Judged as the network will see them: a sliver that vanishes in normalised float32 is no box either.
        extent = (clipped_high / limits).astype(np.float32) - (clipped_low / limits).astype(np.float32)
        inside: NDArray[np.bool_] = proper & np.all(extent > 0, axis=1)
        overhang = np.maximum(clipped_low - low, high - clipped_high).max(axis=1, initial=0)
        sticks_out = inside & (overhang > ROUNDING_PX)
    for kind, found in (
        ("degenerate boxes skipped", ~proper),
        ("boxes outside their image skipped", proper & ~inside),
        ("boxes that stick out of their image clipped", sticks_out),
    ):
        for row in np.flatnonzero(found).tolist():
            problems.add(kind, name(row))
    clipped = np.concatenate([clipped_low, clipped_high - clipped_low], axis=1)
    return np.where(sticks_out[:, None], clipped, boxes), inside
