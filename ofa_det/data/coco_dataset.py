"""A COCO-format data set: images, boxes, and the ground truth that pycocotools is given."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.data.annotation_file import read_annotation_file
from ofa_det.data.annotations import Annotations, AnnotationTable, ObjectBoxes
from ofa_det.data.image_names import FolderGuard
from ofa_det.data.images import image_sizes, read_image
from ofa_det.data.problems import Problems

logger = logging.getLogger(__name__)


class CocoDataset:
    """Images of one split, addressed by position 0 .. len - 1.

    Args:
        table: a checked annotation file.
        image_folder: where its images lie.
        rows: which of the table's images belong to the data set, in this order.
    """

    def __init__(self, table: AnnotationTable, image_folder: str | os.PathLike[str], rows: NDArray[np.int64]) -> None:
        self._table = table
        self._folder = Path(image_folder)
        self._rows = rows

    @classmethod
    def open(
        cls,
        annotation_file: str | os.PathLike[str],
        image_folder: str | os.PathLike[str],
        *,
        problems: Problems | None = None,
        missing: list[str] | None = None,
    ) -> CocoDataset:
        """Opens a data set after a check of the annotations and of every image's header.

        Faults of single annotations are handled as `ofa_det.data.annotation_file` states. Images whose header cannot
        be read are skipped with a warning; a size that is not the stated one is warned of, and boxes are taken
        relative to the stated size.

        Args:
            annotation_file: COCO annotation file.
            image_folder: where its images lie.
            problems: where faults are counted; by default they are logged as warnings, one for each kind.
            missing: takes the names of images that are missing or outside the folder, which are left out then; by
                default they are refused.

        Raises:
            FileNotFoundError: no annotation file.
            ValueError: the annotation file is malformed, images are missing or outside the folder, or none is readable.
        """
        table = read_annotation_file(annotation_file, problems=problems)
        folder = Path(image_folder)
        if not folder.is_dir():
            raise ValueError(f"expected a folder of images, found nothing at {folder}; check --data.root")
        counted = Problems(Path(annotation_file).name) if problems is None else problems
        rows = _readable_rows(table, folder, Path(annotation_file), counted, missing)
        if problems is None:
            counted.warn()
        if not len(rows):
            raise ValueError(
                f"expected readable images in {folder}, found none of {len(table.file_names)}; replace them"
            )
        return cls(table, folder, rows)

    def joined_by(self, folder: str | os.PathLike[str], names: Sequence[str], sizes: NDArray[np.int64]) -> CocoDataset:
        """The data set with more images behind its own, which have no annotations.

        Args:
            folder: of the images.
            names: of their files, relative to it.
            sizes: (M, 2) heights and widths, in pixels.

        Raises:
            ValueError: a file is missing.
        """
        paths = [Path(folder).resolve() / name for name in names]
        if missing := [path for path in paths if not path.is_file()]:
            raise ValueError(f"expected {len(paths)} images in {folder}, found none at {missing[0]}; label that folder")
        table, count = self._table, len(self._table.image_ids)
        more = replace(
            table,
            image_ids=(*table.image_ids, *range(max(table.image_ids) + 1, max(table.image_ids) + 1 + len(names))),
            file_names=(*table.file_names, *map(str, paths)),  # Absolute, so that the folder does not matter.
            image_sizes=np.concatenate([table.image_sizes, sizes]),
            first=np.concatenate([table.first, np.full(len(names), table.first[-1])]),
        )
        return CocoDataset(more, self._folder, np.concatenate([self._rows, count + np.arange(len(names))]))

    def subset(self, positions: NDArray[np.int64]) -> CocoDataset:
        """The data set of the images at the given positions, in that order."""
        return CocoDataset(self._table, self._folder, self._rows[positions])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def categories(self) -> tuple[Category, ...]:
        """By ascending id; labels are positions in it."""
        return self._table.categories

    def image_id(self, index: int) -> int:
        """The image's id in the annotation file."""
        return self._table.image_ids[int(self._rows[index])]

    def file_name(self, index: int) -> str:
        """The image's file name, relative to the image folder."""
        return self._table.file_names[int(self._rows[index])]

    def path(self, index: int) -> Path:
        """Where the image lies."""
        return self._folder / self.file_name(index)

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) that the annotation file states, in pixels."""
        height, width = self._table.image_sizes[self._rows[index]]
        return int(height), int(width)

    @property
    def image_sizes(self) -> NDArray[np.int64]:
        """(N, 2) heights and widths that the annotation file states, in pixels."""
        return self._table.image_sizes[self._rows]

    def image(self, index: int, *, min_side: int | None = None) -> NDArray[np.uint8]:
        """The image as (H, W, 3) RGB.

        Args:
            index: position of the image.
            min_side: as of `ofa_det.data.images.read_image`, in pixels.

        Raises:
            ValueError: its pixels cannot be decoded.
        """
        return read_image(self.path(index), self.image_size(index), min_side=min_side)

    def annotations(self, index: int) -> Annotations:
        """The boxes of an image, crowd regions (ignored) among them."""
        rows = np.arange(*self._table.first[self._rows[index] + [0, 1]])
        return Annotations(
            boxes=_normalised(self._table, rows, self._table.image_sizes[self._rows[index]]),
            labels=self._table.labels[rows],
            ignored=self._table.crowd[rows],
        )

    def objects(self) -> ObjectBoxes:
        """All boxes but crowd regions, in the order of the images and, within an image, of the file."""
        first = self._table.first[self._rows]
        counts = self._table.first[self._rows + 1] - first
        images = np.repeat(np.arange(len(self)), counts)
        # Where an image's boxes begin in the table, less where they begin here, is how far each of them has moved.
        rows = np.arange(len(images)) + (first - (np.cumsum(counts) - counts))[images]
        kept = ~self._table.crowd[rows]
        rows, images = rows[kept], images[kept]
        return ObjectBoxes(
            boxes=_normalised(self._table, rows, self._table.image_sizes[self._rows[images]]),
            labels=self._table.labels[rows],
            images=images,
        )

    def fingerprint(self) -> str:
        """Hash of which images these are: ids, file names and sizes, in order; hexadecimal."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            digest.update(f"{self.image_id(index)} {self.file_name(index)} {self.image_size(index)}\n".encode())
        return digest.hexdigest()

    def box_sizes(self) -> NDArray[np.float32]:
        """(M, 2) width and height of all boxes but crowds, as fractions of their images."""
        boxes = self.objects().boxes
        return np.asarray(boxes[:, 2:] - boxes[:, :2])

    def ground_truth(self) -> dict[str, Any]:
        """The data set as a COCO dictionary, limited to its own images.

        Boxes, areas, crowd flags, image and category ids are those of the file. Annotation ids are numbered anew from
        1, since pycocotools takes a match with annotation 0 for no match.
        """
        images = []
        annotations: list[dict[str, Any]] = []
        for index in range(len(self)):
            height, width = self.image_size(index)
            image_id = self.image_id(index)
            images.append({"id": image_id, "file_name": self.file_name(index), "width": width, "height": height})
            for row in range(*self._annotations_of(index).indices(len(self._table.labels))):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": self.categories[self._table.labels[row]].id,
                        "bbox": self._table.boxes_px[row].tolist(),
                        "area": float(self._table.areas[row]),
                        "iscrowd": int(self._table.crowd[row]),
                    }
                )
        categories = [{"id": category.id, "name": category.name} for category in self.categories]
        return {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    def _annotations_of(self, index: int) -> slice:
        row = self._rows[index]
        return slice(int(self._table.first[row]), int(self._table.first[row + 1]))


def _normalised(
    table: AnnotationTable, rows: NDArray[np.int64], image_sizes_px: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(M, 4) xyxy of M annotations, whose images have (M, 2) or (2,) heights and widths."""
    xy, wh = np.hsplit(table.boxes_px[rows], 2)
    corners = np.concatenate([xy, xy + wh], axis=1) / image_sizes_px[..., [1, 0, 1, 0]]
    return corners.clip(0, 1).astype(np.float32)


def _readable_rows(
    table: AnnotationTable, folder: Path, annotation_file: Path, problems: Problems, left_out: list[str] | None
) -> NDArray[np.int64]:
    """The images that can be used; only headers are read, about 0.1 ms an image."""
    guard = FolderGuard(folder)
    readable: list[int] = []
    missing: list[str] = []
    outside: list[str] = []
    for row, name in enumerate(table.file_names):
        try:
            if not guard.holds(name):
                outside.append(name)
                continue
            sizes = image_sizes(folder / name)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(name)
            continue
        except (ValueError, OSError):
            problems.add("unreadable images skipped", name)
            continue
        if tuple(table.image_sizes[row].tolist()) not in sizes:
            problems.add("images of another size than stated; boxes are taken relative to the stated size", name)
        readable.append(row)
    if left_out is not None:
        left_out += [*missing, *outside]
        return np.array(readable, np.int64)
    if outside:
        raise ValueError(
            f"expected every image of {annotation_file} in {folder}, found {len(outside)} links out of it, the first "
            f"{outside[0]}; copy the files in their place"
        )
    if missing:
        raise ValueError(
            f"expected every image of {annotation_file} in {folder}, found {len(missing)} of {len(table.file_names)} "
            f"missing, the first {missing[0]}; add them or remove their entries"
        )
    return np.array(readable, np.int64)
