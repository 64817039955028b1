"""YOLO: a text file for each image, a line `class x y width height` for each box, as fractions of the image.

`images/train` with `labels/train`, `train/images` with `train/labels`, or text files beside their images; names of the
classes in `data.yaml`, `classes.txt` or `obj.names`. A line of a polygon becomes the box around it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import shown
from ofa_det.artefacts.records import parse_yaml
from ofa_det.data.formats.source import (
    SPLITS,
    ImageIndex,
    Source,
    SourceBox,
    SourceImage,
    Split,
    checked_box,
    checked_categories,
    files_below,
    read_text,
    split_of,
    usable_size,
)
from ofa_det.data.problems import Problems

_NAME_LISTS = "classes.txt", "obj.names", "labels/classes.txt", "_darknet.labels"
_LARGEST_CLASS = 99_999
_BOX_COLUMNS = 5


def read_yolo(root: Path, problems: Problems, *, names: str | None = None) -> Source:
    """Reads a data set in YOLO format.

    Args:
        root: its folder.
        problems: where faults are counted.
        names: file with the names of the classes, a data.yaml or one name a line; by default one in `root`.

    Raises:
        FileNotFoundError: no such file of names.
        ValueError: no names, no label file, or a data.yaml whose folders are outside of `root`.
    """
    description = names_file(root) if names is None else Path(names)
    if description is None:
        raise ValueError(
            f"expected the names of the classes in data.yaml or classes.txt in {root}, found neither; name a file with "
            "--names"
        )
    if not description.is_file():
        raise FileNotFoundError(f"expected names of classes, found nothing at {description}; check --names")
    categories, folders = _read_description(description, root, problems)
    index = ImageIndex(root, room="images")
    known = {category.id for category in categories}
    images, labelled = [], set()
    for path in index.paths:
        size = usable_size(path, problems)
        label = _label_file(path, root)
        if label is None:
            problems.add("images without label file taken as empty", path.name)
        else:
            labelled.add(label)
        if size is not None:
            boxes = () if label is None else _boxes(label, size, known, problems)
            images.append(SourceImage(path=path, size=size, boxes=boxes, split=_split(path, root, folders)))
    if not labelled:
        raise ValueError(
            f"expected label files (.txt) beside the images of {root} or in labels/, found none; put them there"
        )
    for path in label_files(root):
        if "labels" in path.relative_to(root).parts[:-1] and path not in labelled:
            problems.add("label files without their image left out", path.name)
    return Source(images=tuple(images), categories=categories)


def names_file(root: Path) -> Path | None:
    """The file in a folder that names the classes."""
    described = [path for suffix in ("*.yaml", "*.yml") for path in sorted(root.glob(suffix)) if _has_names(path)]
    preferred = [path for path in described if path.stem == "data"]
    listed = [path for path in map(root.joinpath, _NAME_LISTS) if path.is_file()]
    return next(iter((*preferred, *described, *listed)), None)


def label_files(root: Path) -> list[Path]:
    """Text files below a folder that begin like labels."""
    return [path for path in files_below(root) if path.suffix == ".txt" and _is_label(path)]


def _has_names(path: Path) -> bool:
    return any(line.startswith(("names:", "names :")) for line in read_text(path).splitlines())


def _is_label(path: Path) -> bool:
    with path.open(errors="replace") as file:
        cells = file.readline(1000).split()
    try:
        return len(cells) >= _BOX_COLUMNS and all(map(math.isfinite, map(float, cells)))
    except ValueError:
        return False


def _read_description(
    path: Path, root: Path, problems: Problems
) -> tuple[tuple[Category, ...], Mapping[Split, Sequence[Path]]]:
    """Categories, whose ids are the classes and 1, and folders or lists of images by split."""
    if path.suffix not in (".yaml", ".yml"):
        lines = [line.strip() for line in read_text(path).splitlines()]
        return _categories([line for line in lines if line], path), {}
    content = parse_yaml(read_text(path), where=str(path))
    if not isinstance(content, dict):
        raise ValueError(f"expected 'names' in {path}, found {shown(content)}; add the names of the classes")
    return _categories(content.get("names"), path), _folders(content, path, root, problems)


def _categories(names: Any, path: Path) -> tuple[Category, ...]:
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not numbered:
        raise ValueError(f"expected a list or a mapping of names in {path}, found {shown(names)}; correct it")
    for number, name in numbered.items():
        if type(number) is not int or not 0 <= number <= _LARGEST_CLASS:
            raise ValueError(f"expected classes of 0 to {_LARGEST_CLASS} in {path}, found {shown(number)}; correct it")
        if not isinstance(name, str | int | float):
            raise ValueError(f"expected the name of class {number} in {path}, found {shown(name)}; correct it")
    found = [Category(id=number + 1, name=str(name)) for number, name in numbered.items()]
    return checked_categories(found, where=str(path))


def _folders(content: Mapping[Any, Any], path: Path, root: Path, problems: Problems) -> Mapping[Split, Sequence[Path]]:
    """What a data.yaml says of its splits, where it is right: many state paths of another machine."""
    base = content.get("path")
    bases = [root / base, root] if isinstance(base, str) and "\0" not in base else [root]
    found: dict[Split, Sequence[Path]] = {}
    for split in SPLITS:
        entries = content.get(split)
        places = []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str) or not entry or "\0" in entry:
                continue
            place = _place(entry, bases, root)
            if place is None:
                problems.add("paths that are not there passed over", f"{split}: {entry:.80} in {path.name}")
            else:
                places.append(place)
        if places:
            found[split] = places
    if "train" in found and found["train"] == found.get("val"):
        problems.add("folders of both train and val divided anew", f"{content['train']!s:.80} in {path.name}")
    return found


def _place(entry: str, bases: Sequence[Path], root: Path) -> Path | None:
    """The folder or list of an entry: within `root`, or None.

    Roboflow writes `../train/images` for train/images, so leading `..` are tried without.

    Raises:
        ValueError: it is there, but outside.
    """
    parts = list(PurePosixPath(entry.replace("\\", "/")).parts)
    while parts and parts[0] in ("..", "/"):
        parts.pop(0)
    inside = root.joinpath(*parts)
    candidates = [inside, *(base / entry for base in bases)]
    there = [candidate for candidate in candidates if _is_there(candidate)]
    if not there:
        return None
    if not there[0].resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"expected images within {root}, found {shown(entry, 80)}, which leads out of it; name the folder that "
            "holds both images and labels"
        )
    return there[0]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # A name that no file can have, such as one of 1000 letters.
        return False


def _split(path: Path, root: Path, folders: Mapping[Split, Sequence[Path]]) -> Split | None:
    """The split of an image: as data.yaml says, else as its folder is called."""
    for split, places in folders.items():
        if any(place.is_dir() and path.resolve().is_relative_to(place.resolve()) for place in places):
            return split
    return split_of(path.parent, root)


def _label_file(image: Path, root: Path) -> Path | None:
    """The text file of an image: `labels` for the last `images` of its path, or beside it."""
    parts = list(image.relative_to(root).parts)
    if "images" in parts[:-1]:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    swapped = root.joinpath(*parts)
    for candidate in (swapped.with_suffix(".txt"), image.with_suffix(".txt"), root / "labels" / f"{image.stem}.txt"):
        if candidate.is_file():
            return candidate
    return None


def _boxes(path: Path, size: tuple[int, int], known: set[int], problems: Problems) -> tuple[SourceBox, ...]:
    """The boxes of one label file."""
    try:
        lines = read_text(path).splitlines()
    except ValueError:
        problems.add("label files that are no text taken as without objects", path.name)
        return ()
    boxes = []
    for number, line in enumerate(lines, 1):
        name = f"line {number} of {path.name}"
        if not line.strip():
            continue
        parsed = parse_line(line)
        if parsed is None:
            problems.add("lines that are no labels skipped", name)
            continue
        label, (left, top, right, bottom) = parsed
        if label + 1 not in known:
            problems.add("boxes of a class without a name skipped", f"class {label} in {name}")
            continue
        height, width = size
        bbox = checked_box((left * width, top * height, right * width, bottom * height), size, problems, name)
        if bbox is not None:
            boxes.append(SourceBox(category_id=label + 1, bbox=bbox))
    return tuple(boxes)


def parse_line(line: str) -> tuple[int, tuple[float, float, float, float]] | None:
    """Class and xyxy, as fractions, of a line of a box or polygon; None if it is neither."""
    try:
        label, *values = map(float, line.split())
    except ValueError:
        return None
    if not (label.is_integer() and 0 <= label <= _LARGEST_CLASS):
        return None
    if len(values) == _BOX_COLUMNS - 1:
        x, y, width, height = values
        return int(label), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) >= 6 and len(values) % 2 == 0 and all(map(math.isfinite, values)):
        return int(label), (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    return None
