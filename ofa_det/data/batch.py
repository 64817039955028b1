"""Training samples in batches, and how a batch crosses from the process that prepares it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofa_det.data.annotations import Annotations


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training images and their boxes.

    Args:
        images: (B, 3, R, R) uint8 RGB, channels last in memory.
        boxes: B tensors (G, 4) xyxy, normalised.
        labels: B tensors (G,), positions in the data set's categories.
        ignored: B tensors (K, 4) of boxes that are neither targets nor background: crowd regions, and fragments of
            objects that the augmentation cut.
        attached: B mappings of what else belongs to each image; empty without attachments.
        class_scores: B tensors (G, C) that the boxes should be given, as of `Objects`; None if no image has any.
    """

    images: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    ignored: tuple[Tensor, ...]
    attached: tuple[Mapping[str, Tensor], ...]
    class_scores: tuple[Tensor, ...] | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""

        def moved(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(tensor.to(device, non_blocking=True) for tensor in tensors)

        return Batch(
            images=self.images.to(device, non_blocking=True),
            boxes=moved(self.boxes),
            labels=moved(self.labels),
            ignored=moved(self.ignored),
            attached=tuple(
                dict(zip(tensors, moved(tuple(tensors.values())), strict=True)) for tensors in self.attached
            ),
            class_scores=None if self.class_scores is None else moved(self.class_scores),
        )


class Sample(NamedTuple):
    """One image of a batch.

    Args:
        image: (R, R, 3) uint8 RGB.
        annotations: its boxes.
        attached: what else belongs to it.
        notes: what is to be warned of, such as images that cannot be read.
    """

    image: NDArray[np.uint8]
    annotations: Annotations
    attached: Mapping[str, NDArray[Any]]
    notes: list[str]


def pack(samples: list[Sample]) -> dict[str, Any]:
    """A batch in few tensors: each one that crosses a process boundary costs a file descriptor."""
    annotations = [sample.annotations for sample in samples]
    joined = Annotations.joined(annotations)
    kept, scores = ~joined.ignored, joined.class_scores
    return {
        "images": torch.from_numpy(np.stack([sample.image for sample in samples])),
        "boxes": torch.from_numpy(joined.boxes[kept]),
        "labels": torch.from_numpy(joined.labels[kept]),
        "ignored": torch.from_numpy(joined.boxes[~kept]),
        "class_scores": None if scores is None else torch.from_numpy(scores[kept]),
        "counts": [int((~a.ignored).sum()) for a in annotations],
        "ignored_counts": [int(a.ignored.sum()) for a in annotations],
        "attached": _pack_attached([sample.attached for sample in samples]),
        "notes": [note for sample in samples for note in sample.notes],
    }


def unpack(packed: Mapping[str, Any]) -> Batch:
    """The batch that `pack` made few tensors of."""
    return Batch(
        images=packed["images"].permute(0, 3, 1, 2),
        boxes=packed["boxes"].split(packed["counts"]),
        labels=packed["labels"].split(packed["counts"]),
        ignored=packed["ignored"].split(packed["ignored_counts"]),
        attached=_unpack_attached(packed["attached"], len(packed["images"])),
        class_scores=None if packed["class_scores"] is None else packed["class_scores"].split(packed["counts"]),
    )


def _pack_attached(attached: Sequence[Mapping[str, NDArray[Any]]]) -> list[tuple[str, Tensor, list[Any]]]:
    """For each name and type one flat tensor, and which image's array of which shape each part of it is."""
    groups = defaultdict(list)
    for image, arrays in enumerate(attached):
        for name, array in arrays.items():
            groups[name, array.dtype].append((image, array))
    return [
        (
            name,
            torch.from_numpy(np.concatenate([array.ravel() for _, array in found])),
            [(image, array.shape) for image, array in found],
        )
        for (name, _), found in groups.items()
    ]


def _unpack_attached(packed: list[tuple[str, Tensor, list[Any]]], batch_size: int) -> tuple[dict[str, Tensor], ...]:
    attached: tuple[dict[str, Tensor], ...] = tuple({} for _ in range(batch_size))
    for name, flat, parts in packed:
        values = torch.split(flat, [math.prod(shape) for _, shape in parts])
        for (image, shape), part in zip(parts, values, strict=True):
            attached[image][name] = part.view(shape)
    return attached
