"""Pascal VOC: an XML file for each image, as the challenge has them and as LabelImg, CVAT and others write them.

`JPEGImages/` with `Annotations/`, or XML files anywhere beside or near their images; `ImageSets/Main/*.txt` divide
them. Coordinates count pixels from 1 and name the last pixel of a box, so xmin 1, xmax 10 is a box from 0 to 10. An
object marked `difficult` is ignored, as in VOC's own evaluation; one marked `truncated` is an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

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
    split_of,
    usable_size,
)
from ofa_det.data.problems import Problems

_MAX_XML_BYTES = 32 * 10**6
_DEEPEST = 32
_CORNERS = "xmin", "ymin", "xmax", "ymax"
# Lists of ImageSets/Main, the first that are there: VOC's own are disjoint, and trainval is their union.
_LISTS: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "val"), ("test", "test"))


class _DocumentTypeError(ValueError):
    """A document type declaration: nobody's annotations need entities, and entities can be bombs."""


@dataclass(frozen=True, kw_only=True)
class _Object:
    """One object as the file states it; corners are not numbers where the file has none."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True, kw_only=True)
class _Annotation:
    """What is read of one XML file; (height, width) as stated."""

    filename: str
    size: tuple[float, float]
    objects: tuple[_Object, ...]


def read_voc(root: Path, problems: Problems, *, ignore_difficult: bool = True) -> Source:
    """Reads a data set in VOC format.

    Args:
        root: its folder.
        problems: where faults are counted.
        ignore_difficult: objects marked so become ignored regions; else they are objects.

    Raises:
        ValueError: no annotation that can be used, or a file with a document type declaration.
    """
    index = ImageIndex(root, room="JPEGImages")
    annotated: dict[Path, _Annotation | None] = {}
    for path in (path for path in files_below(root) if path.suffix.lower() == ".xml"):
        annotation = _read_annotation(path, problems)
        image = index.find(path.stem, near=path)
        if image is None and annotation is not None:
            image = index.find(annotation.filename, near=path)
        if image is None and annotation is None:
            continue  # Counted already.
        if image is None:
            problems.add("annotations without image left out", path.name)
        elif annotated.get(image) is not None:
            problems.add("further annotation files of the same image left out", path.name)
        else:
            annotated[image] = annotation
    found = [annotation for annotation in annotated.values() if annotation is not None]
    categories = categories_of_names(item.name for annotation in found for item in annotation.objects)
    checked_categories(categories, where=f"the XML files of {root}")
    ids = {category.name: category.id for category in categories}
    splits = _splits(root)
    images = []
    for image in index.paths:
        if image not in annotated:
            problems.add("images without annotations taken as empty", image.name)
        elif annotated[image] is None:
            continue  # Its file is broken and was counted: what is on the image is not known.
        if splits and image.stem not in splits:
            problems.add("images in no list of ImageSets/Main left out", image.name)
            continue
        size = usable_size(image, problems, stated=annotation.size if (annotation := annotated.get(image)) else None)
        if size is not None:
            boxes = _boxes(annotation, size, ids, problems, image, ignore_difficult) if annotation else ()
            split = splits.get(image.stem) if splits else split_of(image.parent, root)
            images.append(SourceImage(path=image, size=size, boxes=boxes, split=split))
    return Source(images=tuple(images), categories=categories)


def _boxes(
    annotation: _Annotation,
    size: tuple[int, int],
    ids: Mapping[str, int],
    problems: Problems,
    image: Path,
    ignore_difficult: bool,
) -> tuple[SourceBox, ...]:
    boxes = []
    for number, item in enumerate(annotation.objects, 1):
        xmin, ymin, xmax, ymax = item.corners
        bbox = checked_box((xmin - 1, ymin - 1, xmax, ymax), size, problems, f"object {number} of {image.name}")
        if bbox is not None:
            ignored = item.difficult and ignore_difficult
            boxes.append(SourceBox(category_id=ids[item.name], bbox=bbox, ignored=ignored))
    return tuple(boxes)


def _splits(root: Path) -> dict[str, Split]:
    """Stem of an image -> its split, by the lists of ImageSets/Main; empty without lists."""
    folders = sorted(folder for folder in root.rglob("ImageSets/Main") if folder.is_dir())
    listed: dict[str, Split] = {}
    for folder in folders:
        lists = _LISTS if (folder / "train.txt").is_file() else (("trainval", "train"), *_LISTS)
        for name, split in lists:
            path = folder / f"{name}.txt"
            if path.is_file():
                lines = path.read_text(errors="replace").splitlines()
                # Lists of one class have 1 or -1 behind the name; the general ones the name alone.
                listed |= {line.split()[0]: split for line in lines if line.split()}
    return listed


def _read_annotation(path: Path, problems: Problems) -> _Annotation | None:
    """One file; None, and a problem, if it cannot be read."""
    try:
        if path.stat().st_size > _MAX_XML_BYTES:
            raise ValueError(f"more than {_MAX_XML_BYTES} bytes")
        return parse_annotation(path.read_bytes())
    except _DocumentTypeError as error:
        raise ValueError(f"expected annotations in {path}, found {error}; remove it") from error
    except ValueError:
        problems.add("files that are no VOC XML left out", path.name)
        return None


def parse_annotation(content: bytes) -> _Annotation:
    """Reads one XML file.

    Raises:
        ValueError: no XML, or not VOC's; a document type declaration.
    """
    root = _Tree().read(content)
    if root.tag != "annotation":
        raise ValueError(f"expected an element 'annotation', found {root.tag!r:.40}")
    objects = []
    for item in root.every("object"):
        box = item.first("bndbox")
        corners = tuple(number_in(box.text(key)) if box else float("nan") for key in _CORNERS)
        xmin, ymin, xmax, ymax = corners
        name = item.text("name").strip()
        if not name:
            raise ValueError("expected a name of every object, found none")
        difficult = item.text("difficult").strip() not in ("", "0")
        objects.append(_Object(name=name, corners=(xmin, ymin, xmax, ymax), difficult=difficult))
    size = root.first("size")
    height, width = (number_in(size.text(key)) if size else float("nan") for key in ("height", "width"))
    return _Annotation(filename=root.text("filename").strip(), size=(height, width), objects=tuple(objects))


class _Element:
    """An XML element: name, what it contains, and its text."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.children: list[_Element] = []
        self.pieces: list[str] = []

    def every(self, tag: str) -> Sequence[_Element]:
        return [child for child in self.children if child.tag == tag]

    def first(self, tag: str) -> _Element | None:
        return next((child for child in self.children if child.tag == tag), None)

    def text(self, tag: str) -> str:
        """Of the first element of that name; empty without one."""
        child = self.first(tag)
        return "" if child is None else "".join(child.pieces)


class _Tree:
    """Builds elements of what expat reads, and refuses what a hostile file would need."""

    def __init__(self) -> None:
        self._root = _Element("")
        self._open = [self._root]

    def read(self, content: bytes) -> _Element:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda tag: self._open.pop()
        parser.CharacterDataHandler = lambda data: self._open[-1].pieces.append(data)
        try:
            parser.Parse(content, True)
        except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that there is not.
            raise ValueError(f"expected XML, found {error}") from error
        return self._root.children[0]

    def _start(self, tag: str, attributes: Mapping[str, Any]) -> None:
        if len(self._open) > _DEEPEST:
            raise ValueError(f"expected up to {_DEEPEST} levels of elements, found more")
        element = _Element(tag)
        self._open[-1].children.append(element)
        self._open.append(element)

    def _refuse(self, *_: Any) -> None:
        raise _DocumentTypeError("a document type declaration (<!DOCTYPE), whose entities could be anything")
