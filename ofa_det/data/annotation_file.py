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

Polygons are not read: they are two thirds of COCO's file, and would take most of the time and of the memory.

A file may come from anywhere, so what it states is bounded: a `file_name` stays within its folder
(`ofa_det.data.image_names`), an image has no more pixels than can be decoded, and ids fit into 64 bits.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import read_json, shown
from ofa_det.data.annotation_fields import NUMBER, as_floats, column, field_of, id_of, section_entries
from ofa_det.data.annotations import AnnotationTable
from ofa_det.data.image_names import is_text, name_fault
from ofa_det.data.images import MAX_PIXELS
from ofa_det.data.problems import Problems

ROUNDING_PX = 1.0
"""Boxes that stick out by no more than this come from rounding and are not worth a warning."""

# With brackets around it, the text is a key; inside of a string, its quotes would be escaped. Nothing is tried twice
# (`++`, `*+`): where a list has no end, the time would otherwise grow exponentially with its parts.
_POLYGONS = re.compile(rb'"segmentation"\s*+:\s*+\[(?:[\s,]++|\[[-+.,\deE\s]*+\])*+\]')
_SECTIONS = "images", "annotations", "categories"
_FIELDS = "id", "file_name", "width", "height", "image_id", "category_id", "bbox", "iscrowd", "area", "name"
_KEYS_READ = frozenset((*_SECTIONS, *_FIELDS))
_MAX_SIDE_PX = 100_000
_MAX_ASPECT = 1000
"""Pictures of a given width are drawn for people; one of a pixel's width would be without end."""


def read_annotation_file(path: str | os.PathLike[str], *, problems: Problems | None = None) -> AnnotationTable:
    """Reads and checks a COCO annotation file.

    Args:
        path: the file.
        problems: where faults are counted; by default they are logged as warnings, one for each kind.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON, or its structure is not COCO's.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a COCO annotation file, found nothing at {path}; check the data root, or bring other "
            "formats into this layout with ofa-det convert"
        )
    content = _read_content(path)
    counted = Problems(path.name) if problems is None else problems
    try:
        if not isinstance(content, dict):
            raise ValueError(f"expected an object with {', '.join(_SECTIONS)}, found {shown(content)}")
        categories = _read_categories(section_entries(content, "categories"))
        images = _read_images(section_entries(content, "images"), counted)
        table = _read_boxes(section_entries(content, "annotations"), categories, images, counted)
    except ValueError as error:
        raise ValueError(f"{error}; correct {path}") from error
    if problems is None:
        counted.warn()
    return table


def _read_content(path: Path) -> Any:
    """The file's JSON without polygons and other keys that are not read."""
    try:
        return json.loads(
            _POLYGONS.sub(b'"segmentation":0', path.read_bytes()),
            object_pairs_hook=lambda pairs: {key: value for key, value in pairs if key in _KEYS_READ},
        )
    except (ValueError, RecursionError):
        return read_json(path)  # Which says where in the whole file the mistake is.


def _read_categories(entries: Sequence[Mapping[str, Any]]) -> tuple[Category, ...]:
    categories = {}
    for position, entry in enumerate(entries):
        category = Category(
            id=id_of(entry, "categories", position), name=field_of(entry, "name", str, "categories", position)
        )
        if category.name.splitlines() not in ([category.name], []) or not is_text(category.name):
            raise ValueError(f"expected a name of one line in categories[{position}], found {shown(category.name, 60)}")
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
        image_id = id_of(entry, "images", position)
        name = field_of(entry, "file_name", str, "images", position)
        if (fault := name_fault(name)) is not None:
            raise ValueError(f"expected a 'file_name' within the image folder in images[{position}], found {fault}")
        width, height = (field_of(entry, key, NUMBER, "images", position) for key in ("width", "height"))
        if not (1 <= width <= _MAX_SIDE_PX and 1 <= height <= _MAX_SIDE_PX):
            raise ValueError(
                f"expected a width and height of 1 to {_MAX_SIDE_PX} px in images[{position}], found {shown(width)} x "
                f"{shown(height)}"
            )
        if width * height > MAX_PIXELS or max(width, height) > _MAX_ASPECT * min(width, height):
            raise ValueError(
                f"expected images of up to {MAX_PIXELS} pixels, and sides of up to 1 : {_MAX_ASPECT}, in "
                f"images[{position}], found {width} x {height}"
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
    positions, labels, used = _owners(entries, categories, images, problems)
    boxes, crowd = _read_bboxes(entries)[used], _read_crowd(entries)[used]
    areas = as_floats(column(entries, "area", NUMBER, "annotations", default=np.nan), "area")[used]
    positions, labels = positions[used], labels[used]
    image_sizes = np.array([size for _, *size in images.values()], np.int64).reshape(-1, 2)
    boxes_px, kept = _checked_boxes(
        boxes, image_sizes[positions], lambda row: _name(entries[used[row]], int(used[row])), problems
    )
    areas = np.where(np.isfinite(areas), areas, boxes_px[:, 2] * boxes_px[:, 3])
    order = np.argsort(positions, kind="stable")
    order = order[kept[order]]
    return AnnotationTable(
        categories=categories,
        image_ids=tuple(images),
        file_names=tuple(name for name, *_ in images.values()),
        image_sizes=image_sizes,
        first=np.searchsorted(positions[order], np.arange(len(images) + 1)),
        boxes_px=boxes_px[order],
        labels=labels[order],
        crowd=crowd[order],
        areas=areas[order],
    )


def _owners(
    entries: Sequence[Mapping[str, Any]],
    categories: tuple[Category, ...],
    images: Mapping[int, tuple[str, int, int]],
    problems: Problems,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(M,) positions of the images of all M annotations, (M,) labels, and which annotations have both."""
    position_of = {image_id: position for position, image_id in enumerate(images)}
    label_of = {category.id: label for label, category in enumerate(categories)}
    image_ids = column(entries, "image_id", int, "annotations")
    category_ids = column(entries, "category_id", int, "annotations")
    positions = np.array([position_of.get(image_id, -1) for image_id in image_ids], np.int64)
    labels = np.array([label_of.get(category_id, -1) for category_id in category_ids], np.int64)
    for owner, plural, ids, unknown in (
        ("category", "categories", category_ids, (positions >= 0) & (labels < 0)),
        ("image", "images", image_ids, positions < 0),
    ):
        for row in np.flatnonzero(unknown).tolist():
            name = f"{_name(entries[row], row)} of {owner} {ids[row]}"
            problems.add(f"annotations of unknown {plural} skipped", name)
    return positions, labels, np.flatnonzero((positions >= 0) & (labels >= 0))


def _read_bboxes(entries: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """(M, 4) x, y, width, height in pixels, as stated."""
    boxes = column(entries, "bbox", list, "annotations")
    flat = list(chain.from_iterable(boxes))
    if not (set(map(len, boxes)) <= {4} and set(map(type, flat)) <= set(NUMBER)):
        for position, box in enumerate(boxes):
            if len(box) != 4 or not all(type(value) in NUMBER for value in box):
                raise ValueError(f"expected a 'bbox' of 4 numbers in annotations[{position}], found {shown(box, 60)}")
    return as_floats(flat, "bbox", per_entry=4).reshape(-1, 4)


def _read_crowd(entries: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """(M,) COCO's `iscrowd`."""
    crowd = [entry.get("iscrowd", 0) for entry in entries]
    for position, value in enumerate(crowd):
        if value not in (0, 1):
            raise ValueError(f"expected 'iscrowd' to be 0 or 1 in annotations[{position}], found {shown(value)}")
    return np.array(crowd, np.bool_)


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
