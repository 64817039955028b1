"""COCO layouts: the one that everything here reads, to be divided anew or written as YOLO, and others.

`annotations/instances_SPLIT….json` with images in `SPLIT…/` or `images/SPLIT…/`, Roboflow's
`SPLIT/_annotations.coco.json` with images beside it, or one `.json` of any name with images in `images/` or beside it.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ofa_det.arch.classes import Category
from ofa_det.data.annotation_file import read_annotation_file
from ofa_det.data.annotations import AnnotationTable
from ofa_det.data.formats.source import Source, SourceBox, SourceImage, checked_categories, split_of, usable_size
from ofa_det.data.image_names import FolderGuard
from ofa_det.data.problems import Problems

_PREFIX = "instances_"
_SECTION = re.compile(rb'"(?:images|annotations|categories)"\s*:\s*\[')


def annotation_files(root: Path) -> list[tuple[Path, Path]]:
    """COCO annotation files of a folder, each with the folder of its images."""
    named = sorted((root / "annotations").glob(f"{_PREFIX}*.json"))
    if named:
        return [(path, _image_folder(root, path.stem.removeprefix(_PREFIX))) for path in named]
    beside = sorted(root.glob("*/_annotations.coco.json"))
    if beside:
        return [(path, path.parent) for path in beside]
    single = sorted(path for folder in (root, root / "annotations") for path in folder.glob("*.json") if _is_coco(path))
    return [(path, root / "images" if (root / "images").is_dir() else root) for path in single]


def read_coco(root: Path, problems: Problems) -> Source:
    """Reads a data set in a COCO layout.

    Args:
        root: its folder.
        problems: where faults are counted.

    Raises:
        ValueError: no annotation file, a malformed one, files of different categories, images outside their folder.
    """
    files = annotation_files(root)
    if not files:
        raise ValueError(f"expected COCO annotation files in {root}/annotations, found none")
    categories: tuple[Category, ...] | None = None
    images: list[SourceImage] = []
    for path, folder in files:
        table = read_annotation_file(path, problems=problems)
        if categories is not None and table.categories != categories:
            raise ValueError(f"expected the categories of {files[0][0]} in {path}, found others; use the same in both")
        categories = table.categories
        images += _images(table, path, folder, root, problems)
    found = checked_categories(categories or (), where=str(root))
    return Source(images=tuple(sorted(images, key=lambda image: image.path)), categories=found)


def _images(table: AnnotationTable, path: Path, folder: Path, root: Path, problems: Problems) -> list[SourceImage]:
    split = split_of(path, root)
    guard = FolderGuard(folder)
    images = []
    for row, name in enumerate(table.file_names):
        try:
            held = guard.holds(name)
        except OSError:
            problems.add("images that are missing left out", name)
            continue
        if not held:
            raise ValueError(f"expected every image of {path} in {folder}, found {name}, a link that leads out of it")
        height, width = table.image_sizes[row].tolist()
        size = usable_size(folder / name, problems, stated=(height, width))
        if size is not None:
            boxes = tuple(_box(table, number) for number in range(*table.first[[row, row + 1]].tolist()))
            images.append(SourceImage(path=folder / name, size=size, boxes=boxes, split=split))
    return images


def _box(table: AnnotationTable, row: int) -> SourceBox:
    x, y, width, height = table.boxes_px[row].tolist()
    return SourceBox(
        category_id=table.categories[int(table.labels[row])].id,
        bbox=(x, y, width, height),
        ignored=bool(table.crowd[row]),
        area=float(np.float64(table.areas[row])),
    )


def _image_folder(root: Path, name: str) -> Path:
    candidates = [root / name, root / "images" / name, root / "images", root]
    return next(folder for folder in candidates if folder.is_dir())


def _is_coco(path: Path) -> bool:
    """Whether a file begins like one; whole files of COCO's size are not read for this."""
    with path.open("rb") as file:
        return _SECTION.search(file.read(10_000)) is not None
