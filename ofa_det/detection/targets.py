"""What each anchor should give, as an assigner says and losses read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2


@dataclass(frozen=True, kw_only=True)
class AnchorGrid:
    """The anchors of a network at one resolution, level by level.

    Args:
        boxes: (A, 4) (cx, cy, w, h), normalised; ordered by level, row, column, size.
        feature_sizes: (height, width) of each level's feature map.
        per_cell: anchors at each cell, per level.
    """

    boxes: Tensor
    feature_sizes: tuple[tuple[int, int], ...]
    per_cell: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Anchors of each level."""
        return tuple(h * w * n for (h, w), n in zip(self.feature_sizes, self.per_cell, strict=True))

    @cached_property
    def cells(self) -> Tensor:
        """(A, 2) width and height of each anchor's cell, normalised."""
        sizes = self.boxes.new_tensor([(1 / width, 1 / height) for height, width in self.feature_sizes])
        return sizes.repeat_interleave(torch.tensor(self.counts, device=sizes.device), dim=0)

    def to(self, device: torch.device | str) -> AnchorGrid:
        """The same grid on another device."""
        return AnchorGrid(boxes=self.boxes.to(device), feature_sizes=self.feature_sizes, per_cell=self.per_cell)


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What lies in the images of a batch.

    Args:
        boxes: per image, (G, 4) xyxy.
        labels: per image, (G,) class indices.
        ignored: per image, (K, 4) xyxy regions that are not background: crowds, fragments of cropped objects.
        class_scores: per image, (G, C) that a perfect box of each object should give, such as a teacher's; without
            them 1 for the object's label.
    """

    boxes: Sequence[Tensor]
    labels: Sequence[Tensor]
    ignored: Sequence[Tensor]
    class_scores: Sequence[Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Targets of a batch, anchor by anchor; the same for every subnet that trains on it.

    P positive anchors stand in the order of `owners >= 0`.

    Args:
        owners: (B, A) object index in the image, `BACKGROUND` or `IGNORED`.
        classes: (P,) label of each positive anchor.
        boxes: (P, 4) xyxy box of each positive anchor.
        anchors: (P, 4) each positive anchor.
        scores: (P,) in [0, 1], the class score that each positive anchor should give, as far as its box goes.
        weights: (P,) of each positive anchor in the box loss.
        class_scores: (P, C) by which its score is multiplied in each class; without them 1 for its label.
        given_normaliser: what stands for the sum of the weights, if the images are a part of a greater batch.
    """

    owners: Tensor
    classes: Tensor
    boxes: Tensor
    anchors: Tensor
    scores: Tensor
    weights: Tensor
    class_scores: Tensor | None = None
    given_normaliser: float | None = None

    @property
    def positive(self) -> Tensor:
        """(B, A) which anchors answer for an object."""
        return self.owners >= 0

    @property
    def normaliser(self) -> Tensor:
        """Scalar that the summed losses are divided by: the sum of the weights, at least 1, unless one is given."""
        if self.given_normaliser is not None:
            return self.weights.new_tensor(self.given_normaliser)
        return self.weights.sum().clamp(min=1)
