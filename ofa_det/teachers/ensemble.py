"""Several teachers as one: weighted boxes fusion (Solovyev et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.detection.boxes import pairwise_iou
from ofa_det.teachers.mapping import comparable
from ofa_det.teachers.teacher import Teacher, TeacherDetections, suppressed

FUSION_IOU = 0.55
"""Boxes of one class that overlap by more than it are fused (section 3.1)."""


class EnsembleTeacher:
    """Fuses the detections of several teachers of the same categories.

    Args:
        members: at least two.

    Raises:
        ValueError: the names of their categories differ.
    """

    def __init__(self, members: Sequence[Teacher]) -> None:
        self._members = tuple(members)
        first, *others = ([comparable(category.name) for category in member.categories] for member in members)
        for number, names in enumerate(others, 2):
            if sorted(names) != sorted(first):
                differing = sorted(set(names) ^ set(first))
                raise ValueError(
                    f"expected the categories of the first teacher in teacher {number} of the ensemble, found a "
                    f"difference in {', '.join(differing[:5]) or 'their number'}; give both the same --labels"
                )
        self._orders = [np.array([names.index(name) for name in first]) for names in (first, *others)]

    @property
    def categories(self) -> tuple[Category, ...]:
        """Those of the first member."""
        return self._members[0].categories

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        """Detects objects in B images (H, W, 3) RGB."""
        found = [member.detect(images) for member in self._members]
        return [self._fused(detections) for detections in zip(*found, strict=True)]

    def _fused(self, detections: Sequence[TeacherDetections]) -> TeacherDetections:
        scores = [one.scores[:, order] for one, order in zip(detections, self._orders, strict=True)]
        return fuse(
            np.concatenate([one.boxes for one in detections]), np.concatenate(scores), num_members=len(detections)
        )


def fuse(boxes: NDArray[np.float32], scores: NDArray[np.float32], *, num_members: int) -> TeacherDetections:
    """Fuses the boxes that several detectors found in one image.

    A box joins the first cluster of its best class whose fused box it overlaps; the fused box is the mean of its boxes
    by the score of the best class, and its scores are the sum of theirs by the number of detectors, or of boxes if
    there are more (section 3.1, steps 3 to 6, with scores of all classes in the place of one).

    Args:
        boxes: (N, 4) xyxy, of all detectors.
        scores: (N, C).
        num_members: detectors.
    """
    best, labels = scores.max(axis=1, initial=0), scores.argmax(axis=1)
    clusters: list[list[int]] = []
    fused = np.zeros((0, 4), np.float32)
    for row in np.argsort(-best, kind="stable").tolist():
        same_class = np.array([labels[cluster[0]] == labels[row] for cluster in clusters], np.bool_)
        overlaps = pairwise_iou(torch.from_numpy(fused), torch.from_numpy(boxes[row : row + 1])).numpy()[:, 0]
        joined = np.flatnonzero(same_class & (overlaps > FUSION_IOU))
        if len(joined):
            # The one that it overlaps most, where the paper takes the first.
            cluster = int(joined[overlaps[joined].argmax()])
            clusters[cluster].append(row)
            fused[cluster] = np.average(boxes[clusters[cluster]], axis=0, weights=best[clusters[cluster]])
        else:
            clusters.append([row])
            fused = np.concatenate([fused, boxes[row : row + 1]])
    sums = [scores[cluster].sum(axis=0) / max(num_members, len(cluster)) for cluster in clusters]
    return suppressed(fused, np.stack(sums) if sums else scores[:0])
