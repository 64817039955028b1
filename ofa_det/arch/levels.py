"""Neck, head, and levels with their anchors."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ofa_det.arch.layers import LayerSpec

LevelAnchors = tuple[tuple[float, float], ...]
"""(width, height) of each anchor at a cell, as fractions of the network input."""

AnchorSizes = tuple[LevelAnchors, ...]
"""Per level."""

_NODE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")


@dataclass(frozen=True, kw_only=True)
class NodeSpec(LayerSpec):
    """A layer of the neck.

    Args:
        name: by which later nodes and levels read it.
        inputs: what it reads: nodes of the neck, or features of the backbone: `stem`, `last`, `stages.N` (what stage N
            gives, at any depth) or a layer of a block, such as `stages.4.0.expand`. By default the node before it.
    """

    name: str
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _NODE_NAME.fullmatch(self.name):
            raise ValueError(f"expected a name of a-z, 0-9, _ and dots between words, found {self.name!r}")
        joins = self.kind in ("add", "concat")
        if len(self.inputs) < 2 if joins else len(self.inputs) > 1:
            wanted = "two or more inputs" if joins else "at most one input"
            raise ValueError(f"expected {wanted} of the {self.kind} {self.name!r}, found {list(self.inputs)}")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Predictors of box codes and class logits on each level.

    Args:
        tower: layers before the 1x1 predictors; one depthwise 3x3 is SSDLite (MobileNetV2, section 6.2).
        separate_towers: whether boxes and classes have a tower each.
        shared: whether all levels use the same convolutions, each with batch norms of its own.
    """

    tower: tuple[LayerSpec, ...] = (LayerSpec(kind="depthwise", kernel_size=3),)
    separate_towers: bool = True
    shared: bool = False

    def __post_init__(self) -> None:
        if any(not spec.has_weights or spec.stride != 1 for spec in self.tower):
            raise ValueError("expected a tower of conv and depthwise layers of stride 1")


@dataclass(frozen=True, kw_only=True)
class LevelSpec:
    """A feature map that objects are predicted on.

    Args:
        feature: what it reads, named as in `NodeSpec.inputs`.
        stride: pixels of the network input to a cell.
        anchors: (width, height) of each anchor at a cell; empty until they are fitted to a data set.
    """

    feature: str
    stride: int
    anchors: LevelAnchors = ()

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError(f"expected a stride >= 1, found {self.stride}")
        if any(min(size) <= 0 for size in self.anchors):
            raise ValueError(f"expected positive anchor sizes, found {self.anchors}")

    def cells(self, resolution: int) -> int:
        """Side of the feature map at a resolution, in cells."""
        return -(-resolution // self.stride)


@dataclass(frozen=True, kw_only=True)
class Recall:
    """How many boxes of a group have an anchor of IoU > 0.5 where it stands, at the centre of a cell.

    Args:
        boxes: of the group.
        recalled: those that have one.
    """

    boxes: int
    recalled: int

    @property
    def fraction(self) -> float:
        """Of the boxes that have one; 1 where there are no boxes, so that none is missed."""
        return self.recalled / self.boxes if self.boxes else 1.0


@dataclass(frozen=True, kw_only=True)
class AnchorRecall:
    """How well anchors suit the boxes of a data set where they stand.

    Args:
        classes: of each class, in the order of the labels.
        levels: of the boxes whose best anchor stands on each level.
        mean_iou: mean over the boxes of the IoU with the best anchor.
    """

    classes: tuple[Recall, ...]
    levels: tuple[Recall, ...]
    mean_iou: float

    @property
    def all_boxes(self) -> Recall:
        """Of the whole data set."""
        return Recall(
            boxes=sum(group.boxes for group in self.classes), recalled=sum(group.recalled for group in self.classes)
        )

    def worst_classes(self) -> list[int]:
        """Labels of the classes that have boxes, by ascending recall."""
        labels = [label for label, group in enumerate(self.classes) if group.boxes]
        return sorted(labels, key=lambda label: self.classes[label].fraction)


@dataclass(frozen=True, kw_only=True)
class AnchorFit:
    """Anchors of a data set.

    Args:
        levels: of the space that they are for, with them; none on a level that a training leaves out.
        recall: of these anchors.
        stock_recall: of the stock SSDLite anchors on the same levels.
    """

    SCHEMA_VERSION: ClassVar[int] = 4

    levels: tuple[LevelSpec, ...]
    recall: AnchorRecall
    stock_recall: AnchorRecall

    @property
    def anchor_sizes(self) -> AnchorSizes:
        """(width, height) of each level's anchors, as fractions of the input."""
        return tuple(level.anchors for level in self.levels)


def ssd_anchor_sizes(
    num_levels: int = 6, min_scale: float = 0.2, max_scale: float = 0.95, *, reduced: bool = True
) -> AnchorSizes:
    """Anchors of the TF SSDLite MobileNetV3 configuration (SSD, section 2.2).

    Args:
        num_levels: at least two.
        min_scale: of the lowest level, as a fraction of the input.
        max_scale: of the highest level.
        reduced: whether the lowest level has three, one of them of half the scale, as TF's have.

    Returns:
        Levels of 3 or 6, 6, 6, ... sizes: 2,034 or 3,234 anchors at 320 px for six levels from stride 16.
    """
    if num_levels < 2:
        raise ValueError(f"expected at least two levels for SSD anchors, found {num_levels}; fit anchors instead")
    if not 0 < min_scale < max_scale <= 1:
        raise ValueError(f"expected 0 < min_scale < max_scale <= 1, found {min_scale} and {max_scale}")
    step = (max_scale - min_scale) / (num_levels - 1)
    scales = [min_scale + step * level for level in range(num_levels)] + [1.0]
    levels = [
        (*tuple(_size(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)), _size(math.sqrt(scale * above), 1.0))
        for scale, above in itertools.pairwise(scales)
    ]
    if reduced:
        levels[0] = (_size(min_scale / 2, 1.0), _size(min_scale, 2.0), _size(min_scale, 0.5))
    return tuple(levels)


def with_anchors(levels: Sequence[LevelSpec], anchor_sizes: AnchorSizes) -> tuple[LevelSpec, ...]:
    """The levels with these anchors.

    Raises:
        ValueError: anchors of another number of levels.
    """
    if len(levels) != len(anchor_sizes):
        raise ValueError(f"expected anchors of {len(levels)} levels, found {len(anchor_sizes)}")
    return tuple(
        LevelSpec(feature=level.feature, stride=level.stride, anchors=sizes)
        for level, sizes in zip(levels, anchor_sizes, strict=True)
    )


def _size(scale: float, ratio: float) -> tuple[float, float]:
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)
