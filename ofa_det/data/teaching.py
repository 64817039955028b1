"""What a teacher's boxes change in the annotations of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ofa_det.data.annotations import Annotations


@dataclass(frozen=True, kw_only=True)
class TeachingConfig:
    """How far a teacher is believed.

    Args:
        class_share: of the class scores that an object's anchors learn, the part that the teacher's scores of it make
            up; the rest is 1 for its label. 0 to 1.
        box_share: how far an object's box moves towards the teacher's, times their IoU. 0 to 1.
        match_iou: from which IoU on a box of the teacher is taken for an object's.
        object_score: of an image without annotations, the teacher's score from which a box is an object, which weighs
            as much as its score.
        labelled_object_score: the same of an image with annotations, for boxes that match none; above 1 never.
        ignore_score: the score from which a box that is no object is not background either; above 1 never.
    """

    class_share: float = 0.5
    box_share: float = 0.0
    match_iou: float = 0.5
    object_score: float = 0.3
    labelled_object_score: float = 1.1
    ignore_score: float = 0.3

    def __post_init__(self) -> None:
        for name in ("class_share", "box_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected 0 <= {name} <= 1, found {getattr(self, name)}")
        for name in ("match_iou", "object_score", "labelled_object_score", "ignore_score"):
            if getattr(self, name) <= 0:
                raise ValueError(f"expected {name} > 0, found {getattr(self, name)}")


def taught(
    annotations: Annotations,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    config: TeachingConfig,
    *,
    labelled: bool,
) -> Annotations:
    """The annotations of an image with what the teacher says of it.

    An object and a box of the teacher match if each is the other's best by IoU, and it is at least `match_iou`;
    objects without a match keep their labels alone. Boxes that lie for more than half in an ignored region are left
    out.

    Args:
        annotations: of the image; none if nobody has annotated it.
        boxes: (N, 4) xyxy of the teacher, in the annotations' coordinates.
        scores: (N, C) of the data set's classes.
        config: how far the teacher is believed.
        labelled: whether somebody has annotated the image.

    Returns:
        The annotations, moved, in their order; then the teacher's own objects; then its ignored boxes.
    """
    own = np.eye(scores.shape[1], dtype=np.float32)[annotations.labels]
    iou = _pairwise_iou(annotations.boxes, boxes) * ~annotations.ignored[:, None]
    matched = np.zeros(len(boxes), np.bool_)
    moved = annotations.boxes.copy()
    if iou.size:
        best = iou.argmax(axis=1)
        mutual = (iou.argmax(axis=0)[best] == np.arange(len(own))) & (iou.max(axis=1) >= config.match_iou)
        theirs = best[mutual]
        matched[theirs] = True
        own[mutual] += config.class_share * (scores[theirs] - own[mutual])
        pull = config.box_share * iou[mutual, theirs][:, None]
        moved[mutual] += pull * (boxes[theirs] - moved[mutual])
    found = [replace(annotations, boxes=moved, class_scores=own)]

    strength = scores.max(axis=1, initial=0)
    free = ~matched & (_coverage(boxes, annotations.boxes[annotations.ignored]) <= 0.5)
    if labelled:  # A second box of an object that has its own is not another object.
        free &= iou.max(axis=0, initial=0) < config.match_iou
    objects = free & (strength >= (config.labelled_object_score if labelled else config.object_score))
    for chosen, ignored in ((objects, False), (free & ~objects & (strength >= config.ignore_score), True)):
        found.append(
            Annotations(
                boxes=boxes[chosen],
                labels=scores[chosen].argmax(axis=1),
                ignored=np.full(int(chosen.sum()), ignored),
                class_scores=scores[chosen],
            )
        )
    return Annotations.joined(found)


def _pairwise_iou(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(G, N) of (G, 4) and (N, 4) xyxy."""
    shared = _pairwise_intersection(boxes, others)
    union = _areas(boxes)[:, None] + _areas(others) - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), np.float32)


def _coverage(boxes: NDArray[np.float32], regions: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the greatest part of each box (N, 4) that lies in one of the regions (K, 4)."""
    shared = _pairwise_intersection(boxes, regions)
    return np.asarray(shared.max(axis=1, initial=0) / np.maximum(_areas(boxes), np.finfo(np.float32).tiny), np.float32)


def _pairwise_intersection(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    return np.asarray(sides.clip(0).prod(axis=2))


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1))
