"""Writes a data set in COCO layout or for YOLO, with its images linked or copied."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import write_atomically, write_json
from ofa_det.artefacts.records import to_yaml
from ofa_det.data.formats.source import SourceBox, SourceImage, Split
from ofa_det.data.problems import Problems

Placed = Mapping[Split, Sequence[SourceImage]]
"""Images by split."""


def write_coco(output: Path, placed: Placed, categories: Sequence[Category], place: FilePlacer) -> None:
    """Writes `annotations/instances_SPLIT2017.json` and `SPLIT2017/`; image ids count from 1 over all splits."""
    number = 0
    for split, images in placed.items():
        entries: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image in images:
            number += 1
            name = place(image.path, output / f"{split}2017").name
            height, width = image.size
            entries.append({"id": number, "file_name": name, "width": width, "height": height})
            annotations += [_annotation(box, len(annotations) + at, number) for at, box in enumerate(image.boxes, 1)]
        content = {
            "images": entries,
            "annotations": annotations,
            "categories": [{"id": category.id, "name": category.name} for category in categories],
        }
        write_json(output / "annotations" / f"instances_{split}2017.json", content)


def write_yolo(
    output: Path, placed: Placed, categories: Sequence[Category], place: FilePlacer, problems: Problems
) -> None:
    """Writes `images/SPLIT/`, `labels/SPLIT/` and `data.yaml`; classes are the positions of the categories."""
    classes = {category.id: label for label, category in enumerate(categories)}
    for split, images in placed.items():
        for image in images:
            name = place(image.path, output / "images" / split).stem
            lines = []
            for box in image.boxes:
                if box.ignored:
                    problems.add("ignored regions left out, which YOLO does not have", image.path.name)
                else:
                    lines.append(_line(box, classes[box.category_id], image.size))
            write_atomically(output / "labels" / split / f"{name}.txt", "".join(lines), durable=False)
    names = {label: category.name for label, category in enumerate(categories)}
    splits = {split: f"images/{split}" for split in placed}
    write_atomically(output / "data.yaml", to_yaml({**splits, "nc": len(names), "names": names}))


class FilePlacer:
    """Puts image files into folders under names of their own.

    A file is linked (a hard link: it takes no space, and stays when the source goes) where the file system can, else
    copied. A symbolic link would lead out of the data set, which readers refuse.

    Args:
        root: of the source.
        placed: images by split; where two of a split would have one name, their folders become part of it.
        copy: copy in any case.
        done: called with 1 after each file, for a progress bar.
    """

    def __init__(self, root: Path, placed: Placed, *, copy: bool, done: Callable[[float], object]) -> None:
        self._names: dict[Path, str] = {}
        for images in placed.values():
            self._names |= _distinct_names(root, [image.path for image in images])
        self._copy = copy
        self._done = done
        self.copied = 0
        self.linked = 0

    def __call__(self, path: Path, folder: Path) -> Path:
        """Places one file; gives where it lies then."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / self._names[path]
        if self._copy or not _linked(path, target):
            shutil.copyfile(path, target)
            self.copied += 1
        else:
            self.linked += 1
        self._done(1)
        return target


def _linked(path: Path, target: Path) -> bool:
    try:
        os.link(path.resolve(), target)
    except OSError:  # Another file system, or a file that is not ours.
        return False
    return True


def _distinct_names(root: Path, paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each file; stems differ too, since the label files of YOLO are called after them."""
    with_stem = Counter(path.stem.lower() for path in paths)
    names, taken = {}, set[str]()
    for path in paths:
        name = path.name if with_stem[path.stem.lower()] == 1 else "_".join(path.relative_to(root).parts)
        # What no data set's file names may hold, see `ofa_det.data.image_names`.
        name = re.sub(r"[\\:]", "_", name.encode(errors="replace").decode())
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
        distinct, number = stem, 1
        while distinct.lower() in taken:
            number += 1
            distinct = f"{stem}_{number}"
        taken.add(distinct.lower())
        names[path] = distinct + suffix
    return names


def _annotation(box: SourceBox, number: int, image_id: int) -> dict[str, Any]:
    x, y, width, height = (round(value, 3) for value in box.bbox)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": box.category_id,
        "bbox": [x, y, width, height],
        "area": round(box.bbox[2] * box.bbox[3] if box.area is None else box.area, 3),
        "iscrowd": int(box.ignored),
    }


def _line(box: SourceBox, label: int, size: tuple[int, int]) -> str:
    x, y, width, height = box.bbox
    rows, columns = size
    values = (x + width / 2) / columns, (y + height / 2) / rows, width / columns, height / rows
    return f"{label} {' '.join(f'{value:.7f}' for value in values)}\n"
