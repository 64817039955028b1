"""`teacher_labels.safetensors`: what a teacher found in the images of a data set, for training that runs no teacher.

A box takes 8 bytes, and 3 for each of its best classes (4 with more than 256 classes). No threshold but the teacher's
own `MIN_SCORE` is applied before labels are read.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import parse_json, write_atomically
from ofa_det.artefacts.records import parse_record, record_content
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.teachers.mapping import CategoryMapping
from ofa_det.teachers.source import TeacherSource

LABELS_NAME = "teacher_labels.safetensors"

_HEADER_KEY = "ofa_det_teacher_labels"
_UNITS = 0xFFFF  # A side of the image, in the steps in which boxes are stored.
_DTYPES = {"I64": np.int64, "I32": np.int32, "U16": np.uint16, "U8": np.uint8, "F16": np.float16}


@dataclass(frozen=True, kw_only=True)
class LabelHeader:
    """What labels are of, and whose; labellings of equal headers give equal labels.

    Args:
        teacher: its detectors.
        licence: of the teacher, as the user stated it.
        mapping: from its categories to those of the labels, with what has no counterpart.
        images_sha256: fingerprint of the images, all of them.
        views: stored augmentations of each image; 0 stands for the whole image alone.
        seed: of the augmentations, see `view_seed`.
        augmentation: that the views are made with, without what moves no pixels; None without views.
        top_classes: classes stored for each box, the best.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    teacher: tuple[TeacherSource, ...]
    licence: str
    mapping: CategoryMapping
    images_sha256: str
    views: int
    seed: int
    augmentation: AugmentationConfig | None
    top_classes: int


class StoredDetections(NamedTuple):
    """Labels of one view of an image: N boxes by descending score of the best class, T classes of each.

    Args:
        boxes: (N, 4) float32 xyxy, normalised: to the image, or to the training sample that the view is.
        classes: (N, T) int64 positions in `categories`, the best first.
        scores: (N, T) float32 of these classes.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def class_scores(self, num_classes: int) -> NDArray[np.float32]:
        """(N, C) scores of all classes; 0 for those that are not stored."""
        spread = np.zeros((len(self), num_classes), np.float32)
        np.put_along_axis(spread, self.classes, self.scores, axis=1)
        return spread


@dataclass(frozen=True, kw_only=True)
class TeacherLabels:
    """Labels of N images in V views each, M boxes in all, as they are stored.

    Reading changes nothing, so that processes may share it.

    Args:
        header: what they are.
        image_ids: (N,) int64.
        file_names: N names relative to the image folder.
        image_sizes: (N, 2) int32 heights and widths, in pixels; 0 where the file tells none.
        readable: (N,) uint8, 0 for an image whose pixels cannot be decoded, which has no labels.
        counts: (N, V) uint16 boxes of each view.
        boxes: (M, 4) uint16 xyxy in steps of 1 / 65535.
        classes: (M, T) uint8, or uint16 with more than 256 classes.
        scores: (M, T) float16.
        windows: (N, V, 4) int32 part of the image that each view is, x1, y1, x2, y2 in pixels; without views (N, 0, 4).
        flips: (N, V, 2) uint8 whether each view is flipped left to right, and upside down; without views (N, 0, 2).
    """

    header: LabelHeader
    image_ids: NDArray[np.int64]
    file_names: tuple[str, ...]
    image_sizes: NDArray[np.int32]
    readable: NDArray[np.uint8]
    counts: NDArray[np.uint16]
    boxes: NDArray[np.uint16]
    classes: NDArray[np.uint8] | NDArray[np.uint16]
    scores: NDArray[np.float16]
    windows: NDArray[np.int32]
    flips: NDArray[np.uint8]

    def __post_init__(self) -> None:
        count, views = len(self.image_ids), max(1, self.header.views)
        top = min(self.header.top_classes, len(self.categories))
        boxes = int(self.counts.sum(dtype=np.int64))
        expected: dict[str, tuple[int, ...]] = {
            "image_sizes": (count, 2),
            "readable": (count,),
            "counts": (count, views),
            "boxes": (boxes, 4),
            "classes": (boxes, top),
            "scores": (boxes, top),
            "windows": (count, self.header.views, 4),
            "flips": (count, self.header.views, 2),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"expected {name} of shape {shape}, found {getattr(self, name).shape}")
        if len(self.file_names) != count:
            raise ValueError(f"expected {count} file names, found {len(self.file_names)}")

    def __len__(self) -> int:
        """Images."""
        return len(self.image_ids)

    @property
    def categories(self) -> tuple[Category, ...]:
        """Of the data set; classes are positions in it."""
        return self.header.mapping.categories

    @property
    def num_views(self) -> int:
        """V; 1 for the whole image alone."""
        return max(1, self.header.views)

    def of(self, image: int, view: int = 0, *, score_threshold: float = 0.0) -> StoredDetections:
        """The labels of one view.

        Args:
            image: row of the image, see `rows_of`.
            view: 0 .. V - 1; without stored augmentations the only one is the whole image.
            score_threshold: boxes whose best class scores less are left out.

        Raises:
            IndexError: no such image or view.
        """
        if not (0 <= image < len(self) and 0 <= view < self.num_views):
            raise IndexError(f"expected one of {len(self)} images and {self.num_views} views, found {image} and {view}")
        number = image * self.num_views + view
        rows = slice(*self._first[number : number + 2].tolist())
        scores = self.scores[rows].astype(np.float32)
        # By descending score, so that those above the threshold come first.
        kept = int((scores[:, 0] >= score_threshold).sum())
        boxes = self.boxes[rows][:kept].astype(np.float32) / np.float32(_UNITS)
        return StoredDetections(boxes, self.classes[rows][:kept].astype(np.int64), scores[:kept])

    def rows_of(self, dataset: CocoDataset) -> NDArray[np.int64]:
        """(D,) the row of each image of a data set, which may be a part of what was labelled.

        Raises:
            ValueError: other categories, or an image that was not labelled under its id, name and size.
        """
        if dataset.categories != self.categories:
            raise ValueError(
                f"expected teacher labels of the {len(dataset.categories)} categories of the data set, found "
                f"{len(self.categories)} others; label that data set"
            )
        by_id = {image_id: row for row, image_id in enumerate(self.image_ids.tolist())}
        rows = np.array([by_id.get(dataset.image_id(index), -1) for index in range(len(dataset))], np.int64)
        for index, row in enumerate(rows.tolist()):
            name, size = dataset.file_name(index), dataset.image_size(index)
            if row < 0 or self.file_names[row] != name or tuple(self.image_sizes[row].tolist()) != size:
                raise ValueError(
                    f"expected teacher labels of every image of the data set, found none of {name}, {size[1]} x "
                    f"{size[0]} px, id {dataset.image_id(index)}; label that data set"
                )
        return rows

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """(N * V + 1,) the boxes of view v of image n are _first[n * V + v] to the next."""
        return np.concatenate([[0], np.cumsum(self.counts.ravel(), dtype=np.int64)])

    @classmethod
    def joined(cls, parts: Sequence[TeacherLabels]) -> TeacherLabels:
        """The images of one or more parts with one header, in their order."""
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
        names = tuple(name for part in parts for name in part.file_names)
        return cls(header=parts[0].header, file_names=names, **arrays)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the file atomically."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        arrays["file_names"] = np.frombuffer(json.dumps(self.file_names).encode(), np.uint8)
        write_atomically(path, save(arrays, metadata={_HEADER_KEY: json.dumps(record_content(self.header))}))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TeacherLabels:
        """Opens a file, or the one in a folder; its arrays stay on the disk until they are used.

        Raises:
            FileNotFoundError: there is none.
            ValueError: not such a file, or one of another schema version.
        """
        path = Path(path)
        path = path / LABELS_NAME if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(
                f"expected a teacher's labels, found nothing at {path}; make them with label_with_teacher"
            )
        try:
            arrays, metadata = _mapped(path)
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"expected a teacher's labels in {path}, found {error}; make them anew") from error
        header = parse_record(
            parse_json(metadata.get(_HEADER_KEY, "{}"), where=str(path)), LabelHeader, where=str(path)
        )
        try:
            names = tuple(parse_json(arrays.pop("file_names").tobytes(), where=str(path)))
            return cls(header=header, file_names=names, **{name: arrays[name] for name in _ARRAYS})
        except (KeyError, ValueError) as error:
            raise ValueError(f"expected a teacher's labels in {path}, found {error}; make them anew") from error


_ARRAYS = ("image_ids", "image_sizes", "readable", "counts", "boxes", "classes", "scores", "windows", "flips")


def quantised(boxes: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Boxes (N, 4) in [0, 1] as they are stored: within 1 / 131070 of what they were."""
    return np.rint(boxes.astype(np.float64) * _UNITS).astype(np.uint16)


def _mapped(path: Path) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """The arrays of a safetensors file, memory-mapped, and its metadata."""
    with safe_open(path, framework="numpy") as file:
        metadata: Mapping[str, str] = file.metadata() or {}
    with path.open("rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    begin = 8 + int.from_bytes(content[:8], "little")
    entries = parse_json(content[8:begin], where=str(path))
    arrays = {}
    for name, entry in entries.items():
        if name != "__metadata__":
            first, end = entry["data_offsets"]
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            flat = np.frombuffer(content, dtype, (end - first) // dtype.itemsize, begin + first)
            arrays[name] = flat.reshape(entry["shape"])
    return arrays, metadata
