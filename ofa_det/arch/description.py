"""What a trained model is: the same for training, scoring, search and export."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ofa_det.arch.classes import Category, ClassColumns, ClassNumbering, class_columns, label_columns
from ofa_det.arch.detector import DetectorConfig, shipped_plan
from ofa_det.arch.levels import AnchorSizes
from ofa_det.arch.plan import LayerPlan
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig


@dataclass(frozen=True, kw_only=True)
class PostProcessConfig:
    """Attributes of TFLite_Detection_PostProcess.

    Args:
        score_threshold: detections below it are dropped before suppression.
        iou_threshold: of two boxes that overlap by more than it, the weaker is suppressed.
        max_detections: detections kept for one image; OVIC wants exactly 100.
        detections_per_class: boxes kept for one class before the best of all classes are taken.
        regular_nms: suppress class by class; otherwise ("fast") once, on each anchor's best class.
    """

    score_threshold: float = 0.01
    iou_threshold: float = 0.6
    max_detections: int = 100
    detections_per_class: int = 100
    regular_nms: bool = True

    def __post_init__(self) -> None:
        for name in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected {name} in [0, 1], found {getattr(self, name)}")
        for name in ("max_detections", "detections_per_class"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, found {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class PostProcessChange:
    """Settings that replace a model's own; None leaves its own.

    Args:
        score_threshold: scores below are no detection, 0 to 1.
        iou_threshold: boxes that overlap a better one more are suppressed, 0 to 1.
        max_detections: detections kept for one image.
        detections_per_class: boxes kept for one class before the best of all classes are taken.
        regular_nms: suppress class by class; otherwise ("fast") once, on each anchor's best class.
    """

    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    detections_per_class: int | None = None
    regular_nms: bool | None = None

    def __post_init__(self) -> None:
        PostProcessConfig(**self.values())

    def values(self) -> dict[str, Any]:
        """What it replaces, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def applied(self, config: PostProcessConfig) -> PostProcessConfig:
        """The settings of a model, changed."""
        return replace(config, **self.values())


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What network a run folder holds, and how it detects.

    Args:
        detector: what all its subnets share.
        subnet: the one architecture of a detector; None of a supernet.
        categories: the object classes, in the order of the labels.
        postprocess: how its outputs become detections.
        holdout_fraction: part of the training images that it was not trained on, kept for scoring subnets.
        training_images: fingerprint of the images that it was trained on.
    """

    detector: DetectorConfig
    subnet: SubnetConfig | None
    categories: tuple[Category, ...]
    postprocess: PostProcessConfig
    holdout_fraction: float = 0.0
    training_images: str = ""

    def __post_init__(self) -> None:
        if len(self.categories) != self.detector.num_classes:
            raise ValueError(f"expected {self.detector.num_classes} categories, found {len(self.categories)}")
        if self.detector.ranks and self.subnet is None:
            raise ValueError(
                f"expected ranks of a detector of one subnet, found {len(self.detector.ranks)} of a supernet"
            )
        if self.columns().has_unused and self.postprocess.score_threshold <= 0:
            raise ValueError(
                "expected a score_threshold > 0, since the category ids have gaps, whose classes would be detected, "
                "found 0; set --postprocess.score_threshold"
            )

    @classmethod
    def assumed(
        cls,
        space: SearchSpace,
        *,
        num_classes: int,
        subnet: SubnetConfig | None = None,
        anchor_sizes: AnchorSizes | None = None,
    ) -> ModelDescription:
        """What a search space tells of a model that was never trained, where only its cost counts.

        Args:
            space: of the model.
            num_classes: named by their numbers, from 1.
            subnet: the one architecture of a detector; None of a supernet.
            anchor_sizes: by default the space's own, or SSDLite's where it leaves them to a data set.
        """
        sizes = anchor_sizes or space.own_anchors or space.stock_anchors()
        return cls(
            detector=DetectorConfig.of(space, num_classes=num_classes, anchor_sizes=sizes),
            subnet=subnet,
            categories=tuple(Category(id=id_, name=str(id_)) for id_ in range(1, num_classes + 1)),
            postprocess=PostProcessConfig(),
        )

    def columns(self, numbering: ClassNumbering = "competition") -> ClassColumns:
        """The score columns of its `.tflite` file."""
        return label_columns(self.categories) if numbering == "compact" else class_columns(self.categories)

    def shipped_plan(self, subnet: SubnetConfig, numbering: ClassNumbering = "competition") -> LayerPlan:
        """The layers of the `.tflite` file that a subnet becomes."""
        return shipped_plan(self.detector, len(self.columns(numbering)), subnet)
