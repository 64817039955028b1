"""What every reader of a format gives: images, where they lie, their boxes in pixels, and the split they belong to."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Literal, get_args

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import shown
from ofa_det.data.image_names import is_text
from ofa_det.data.images import IMAGE_SUFFIXES, image_sizes
from ofa_det.data.problems import Problems

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "train2017", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "val2017"), "val"),
    **dict.fromkeys(("test", "testing", "test2017"), "test"),
}
_SYSTEM = ".", "__MACOSX"
_MAX_SIDE_PX = 100_000
_ROUNDING_PX = 1.0
_MAX_CLASSES = 100_000
_MAX_TEXT_BYTES = 256 * 10**6


@dataclass(frozen=True, kw_only=True)
class SourceBox:
    """One object.

    Args:
        category_id: of the source's categories.
        bbox: x, y, width, height in pixels, from 0 at the upper left corner of the image.
        ignored: neither to be found nor background, as COCO's `iscrowd`.
        area: in square pixels, where it is not that of the box.
    """

    category_id: int
    bbox: tuple[float, float, float, float]
    ignored: bool = False
    area: float | None = None


@dataclass(frozen=True, kw_only=True)
class SourceImage:
    """One image.

    Args:
        path: of the file.
        size: (height, width) that its boxes refer to, in pixels.
        boxes: its objects.
        split: where the source puts it; None where it does not say.
    """

    path: Path
    size: tuple[int, int]
    boxes: tuple[SourceBox, ...]
    split: Split | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A whole data set.

    Args:
        images: ordered by path.
        categories: by ascending id.
    """

    images: tuple[SourceImage, ...]
    categories: tuple[Category, ...]


class ImageIndex:
    """The image files of a folder and of those in it, found by name or stem, the nearest first.

    Args:
        root: the folder.
        room: name of a folder; where images lie in such a one, others (masks, previews) are none of the data set.
    """

    def __init__(self, root: Path, *, room: str | None = None) -> None:
        self.root = root
        paths = [path for path in files_below(root) if path.suffix.lower() in IMAGE_SUFFIXES]
        self.paths = [path for path in paths if room in path.relative_to(root).parts[:-1]] or paths
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)
            self._by_name[path.stem].append(path)

    def find(self, name_or_stem: str, *, near: Path) -> Path | None:
        """The image of a file name, or of a name without suffix.

        Args:
            name_or_stem: only its last part counts, so that it cannot lead anywhere.
            near: of several, the one that has most folders in common with this path.
        """
        last = PurePath(name_or_stem.replace("\\", "/")).name
        found = self._by_name.get(last, [])
        return max(found, key=lambda path: _shared_folders(path, near), default=None)


def _shared_folders(first: Path, second: Path) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(first.parts, second.parts, strict=False))))


def files_below(root: Path) -> list[Path]:
    """The files in a folder and below it; those whose name begins with a dot belong to systems, not to people.

    Links to folders are followed, but none of them twice, so that a link to a folder above has an end.
    """
    found, seen = [], {root.resolve()}
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        # Sorted, since of two ways to a folder the first is taken; in place, since `os.walk` goes on with what stays.
        folders[:] = [name for name in sorted(folders) if not name.startswith(_SYSTEM) and _is_new(here / name, seen)]
        found += [here / name for name in names if not name.startswith(_SYSTEM)]
    return sorted(path for path in found if path.is_file())


def _is_new(folder: Path, seen: set[Path]) -> bool:
    resolved = folder.resolve()
    if resolved in seen:
        return False
    seen.add(resolved)
    return True


def number_in(text: str) -> float:
    """The number that a text is; not a number where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def split_of(path: PurePath, root: PurePath) -> Split | None:
    """The split that a folder or file name below `root` tells, such as valid/ or train_labels.csv.

    Of an image its folder is asked, not its name: train_12.jpg may show a train.
    """
    for part in reversed(path.relative_to(root).parts):
        words = part.lower().split(".")[0].replace("-", "_").split("_")
        for word in (part.lower(), *words):
            if word in _SPLIT_NAMES:
                return _SPLIT_NAMES[word]
    return None


def read_text(path: Path) -> str:
    """A text file of a data set.

    Raises:
        ValueError: no UTF-8 text, or larger than annotations can be.
    """
    if path.stat().st_size > _MAX_TEXT_BYTES:
        raise ValueError(f"expected a text of up to {_MAX_TEXT_BYTES} bytes, found more in {path}; leave it out")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected UTF-8 text in {path}, found other bytes from byte {error.start} on; save it as UTF-8"
        ) from error


def usable_size(path: Path, problems: Problems, *, stated: tuple[float, float] | None = None) -> tuple[int, int] | None:
    """(height, width) of an image in pixels; None, and a problem, if its header cannot be read.

    Args:
        path: the image.
        problems: where faults are counted.
        stated: (height, width) that the annotations state; where they are not the file's, boxes refer to them still.
    """
    try:
        sizes = image_sizes(path)
    except (ValueError, OSError):
        problems.add("unreadable images left out", path.name)
        return None
    if stated is None or not all(1 <= side <= _MAX_SIDE_PX for side in stated):
        return sizes[-1]
    size = int(stated[0]), int(stated[1])
    if size not in sizes:
        problems.add("images of another size than stated; boxes are taken relative to the stated size", path.name)
    return size


def checked_box(
    corners: Sequence[float], size: tuple[int, int], problems: Problems, name: str
) -> tuple[float, float, float, float] | None:
    """x, y, width, height of a box in pixels, clipped to its image; None, and a problem, if nothing is left of it.

    Args:
        corners: xmin, ymin, xmax, ymax in pixels, from 0.
        size: (height, width) of the image.
        problems: where faults are counted.
        name: of what is checked.
    """
    xmin, ymin, xmax, ymax = corners
    if not all(map(math.isfinite, corners)) or xmax <= xmin or ymax <= ymin:
        problems.add("degenerate boxes skipped", name)
        return None
    height, width = size
    left, top = min(max(xmin, 0.0), width), min(max(ymin, 0.0), height)
    right, bottom = min(max(xmax, 0.0), width), min(max(ymax, 0.0), height)
    if right <= left or bottom <= top:
        problems.add("boxes outside their image skipped", name)
        return None
    if max(left - xmin, top - ymin, xmax - right, ymax - bottom) > _ROUNDING_PX:
        problems.add("boxes that stick out of their image clipped", name)
    return left, top, right - left, bottom - top


def categories_of_names(names: Iterable[str]) -> tuple[Category, ...]:
    """Categories with ids from 1, by ascending name, for formats that know names alone."""
    return tuple(Category(id=number, name=name) for number, name in enumerate(sorted(set(names)), 1))


def checked_categories(categories: Sequence[Category], *, where: str) -> tuple[Category, ...]:
    """Categories by ascending id.

    Raises:
        ValueError: more than a detector can tell apart, or a name that is not one line.
    """
    if len(categories) > _MAX_CLASSES:
        raise ValueError(f"expected up to {_MAX_CLASSES} classes in {where}, found {len(categories)}; leave some out")
    for category in categories:
        if category.name.splitlines() != [category.name] or not is_text(category.name):
            raise ValueError(
                f"expected class names of one line in {where}, found {shown(category.name, 60)}; correct it"
            )
    return tuple(sorted(categories))
