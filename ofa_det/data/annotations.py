"""Boxes of one image, and of a whole annotation file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Boxes of one image.

    Args:
        boxes: (G, 4) xyxy, normalised to the image.
        labels: (G,) positions in the data set's `categories`.
        ignored: (G,) which boxes are neither targets nor background: regions that cover a group of objects (COCO's
            `iscrowd`) and, after augmentation, fragments: objects that a random window left too little of.
        class_scores: (G, C) that a detector should give each box, such as a teacher's; without them 1 for its label.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    class_scores: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls) -> Annotations:
        """No boxes."""
        return cls(boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64), ignored=np.zeros(0, np.bool_))

    @classmethod
    def joined(cls, parts: Sequence[Annotations]) -> Annotations:
        """The boxes of one or more parts, in their order."""
        labels = np.concatenate([part.labels for part in parts])
        given = [part.class_scores for part in parts if part.class_scores is not None]
        scores: NDArray[np.float32] | None = None
        if given:
            scores = np.eye(given[0].shape[1], dtype=np.float32)[labels]
            ends = np.cumsum([len(part) for part in parts])
            for part, end in zip(parts, ends, strict=True):
                if part.class_scores is not None:
                    scores[end - len(part) : end] = part.class_scores
        return cls(
            boxes=np.concatenate([part.boxes for part in parts]),
            labels=labels,
            ignored=np.concatenate([part.ignored for part in parts]),
            class_scores=scores,
        )


@dataclass(frozen=True, kw_only=True)
class ObjectBoxes:
    """The objects of a whole data set, crowd regions left out; M of them, ordered by image.

    Args:
        boxes: (M, 4) xyxy, normalised to their images.
        labels: (M,) positions in the data set's `categories`.
        images: (M,) positions of their images in the data set.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class AnnotationTable:
    """The content of an annotation file in flat arrays, which worker processes share without copies.

    N images, M annotations ordered by image.

    Args:
        categories: by ascending id.
        image_ids: N ids.
        file_names: N names relative to the image folder.
        image_sizes: (N, 2) heights and widths, in pixels.
        first: (N + 1,) the annotations of image i are first[i] .. first[i + 1].
        boxes_px: (M, 4) x, y, width, height as stated, clipped to the image where they stick out by more than 1 px.
        labels: (M,) positions in `categories`.
        crowd: (M,) COCO's `iscrowd`.
        areas: (M,) object areas in square pixels, by which COCO sorts small, medium and large.
    """

    categories: tuple[Category, ...]
    image_ids: tuple[int, ...]
    file_names: tuple[str, ...]
    image_sizes: NDArray[np.int64]
    first: NDArray[np.int64]
    boxes_px: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
