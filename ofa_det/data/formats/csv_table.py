"""CSV as the TensorFlow Object Detection API's tutorials have it: one line for each box.

Columns `filename,width,height,class,xmin,ymin,xmax,ymax`, in any order. Coordinates are pixels from 0 to the width, as
TensorFlow takes them. An image with an empty class has no objects.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ofa_det.data.formats.source import (
    ImageIndex,
    Source,
    SourceBox,
    SourceImage,
    Split,
    categories_of_names,
    checked_box,
    checked_categories,
    files_below,
    number_in,
    read_text,
    split_of,
    usable_size,
)
from ofa_det.data.problems import Problems

COLUMNS = "filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"
_CORNERS = COLUMNS[4:]


@dataclass(kw_only=True)
class _Rows:
    """What is said of one image: lines of the table, and the split of their file."""

    split: Split | None
    lines: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)


def tables_below(root: Path) -> list[Path]:
    """The CSV files below a folder whose first line has the columns."""
    return [path for path in files_below(root) if path.suffix.lower() == ".csv" and _has_columns(path)]


def read_csv(root: Path, problems: Problems) -> Source:
    """Reads a data set in CSV format.

    Args:
        root: its folder.
        problems: where faults are counted.

    Raises:
        ValueError: no table with the columns, a broken one, or no class in any.
    """
    tables = tables_below(root)
    if not tables:
        raise ValueError(f"expected a CSV file with the columns {','.join(COLUMNS)} in {root}, found none")
    index = ImageIndex(root)
    rows: dict[Path, _Rows] = {}
    for table in tables:
        for name, row in _lines(table, problems):
            image = index.find(row["filename"], near=table)
            if image is None:
                problems.add("lines without their image left out", f"{name}: {row['filename']:.60}")
                continue
            split = split_of(table, root) or split_of(image.parent, root)
            rows.setdefault(image, _Rows(split=split)).lines.append((name, row))
    names = {row["class"] for found in rows.values() for _, row in found.lines if row["class"]}
    categories = checked_categories(categories_of_names(names), where=f"the tables of {root}")
    ids = {category.name: category.id for category in categories}
    images = []
    for image in index.paths:
        found = rows.get(image)
        if found is None:
            problems.add("images in no table left out", image.name)
        elif (read := _image(image, found, ids, problems)) is not None:
            images.append(read)
    return Source(images=tuple(images), categories=categories)


def _image(path: Path, rows: _Rows, ids: Mapping[str, int], problems: Problems) -> SourceImage | None:
    first = rows.lines[0][1]
    size = usable_size(path, problems, stated=(number_in(first["height"]), number_in(first["width"])))
    if size is None:
        return None
    boxes = []
    for name, row in rows.lines:
        if not row["class"]:
            if any(row[column] for column in _CORNERS):
                problems.add("boxes without a class skipped", name)
            continue
        bbox = checked_box([number_in(row[column]) for column in _CORNERS], size, problems, name)
        if bbox is not None:
            boxes.append(SourceBox(category_id=ids[row["class"]], bbox=bbox))
    return SourceImage(path=path, size=size, boxes=tuple(boxes), split=rows.split)


def _lines(path: Path, problems: Problems) -> list[tuple[str, Mapping[str, str]]]:
    """Name and cells of each line."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    lines: list[tuple[str, Mapping[str, str]]] = []
    try:
        for row in reader:
            name = f"line {reader.line_num} of {path.name}"
            cells = {str(column).strip(): cell for column, cell in row.items() if column is not None}
            if any(cells.get(column) is None for column in COLUMNS):
                problems.add("lines with too few columns left out", name)
                continue
            lines.append((name, {column: str(cells[column]).strip() for column in COLUMNS}))
    except csv.Error as error:
        raise ValueError(
            f"expected a CSV table in {path}, found {error} in line {reader.line_num}; correct it"
        ) from error
    return lines


def _has_columns(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return set(COLUMNS) <= {cell.strip().strip('"') for cell in file.readline(10_000).split(",")}
