"""What a labelling is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.splits import DataConfig, Split
from ofa_det.teachers.feature_file import FeatureConfig
from ofa_det.teachers.views import geometry_of


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """What to label, and with what.

    Args:
        teacher: an .onnx or .tflite detector, a run folder, or torchvision:NAME; several with commas between are
            fused, and decoder, labels and weights may then have a part for each.
        data: the data set whose images are labelled; its boxes are used for the report alone, and for where stored
            augmentations look.
        split: part of the data set; train, val, fit or holdout.
        images: folder of pictures without annotations, in the place of a data set; the labels then have the teacher's
            categories.
        output: folder of teacher_labels.safetensors, labels.json and the report; outside the folder of images.
        decoder: of an ONNX file: name in configs/teachers or a YAML file of your own; auto takes the one that fits.
        labels: list of the teacher's class names, one a line, or coco80, coco90 or coco91; by default labels.txt beside
            the file, or COCO's for 80, 90 and 91 classes.
        weights: file of weights for torchvision:NAME.
        aliases: names of the teacher's categories and what the data set calls them, as {automobile: car}.
        licence: of the teacher's weights; kept with the labels.
        views: stored augmentations of each image; 0 labels the whole image once, and training may vary it at will.
        augmentation: how stored views are varied; training has to use the same, but for colours.
        seed: of the stored views.
        top_classes: classes stored for each box, the best.
        features: maps of a run folder, torchvision detector or .onnx file that are stored too, for training to imitate;
            with views.
        batch_size: images that the teacher is given at once.
        threads: CPU threads that decode images and run ONNX and TFLite teachers; 0 takes all cores.
        accelerator: torch device for a run folder or torchvision: auto, cpu, cuda or cuda:N.
        report: compare with the ground truth, if there is any; with stored views this takes a pass over the whole
            images.
        as_dataset: also write the labels as a data set in COCO layout, with the boxes above score_threshold.
        score_threshold: for as_dataset, 0 to 1.
        copy_images: for as_dataset, copy the images instead of linking to them.
        resume: continue a labelling that was interrupted.
    """

    teacher: str
    data: DataConfig = field(default_factory=lambda: DataConfig(root=""))
    split: Split = "train"
    images: str | None = None
    output: str = "runs/teacher_labels"
    decoder: str = "auto"
    labels: str | None = None
    weights: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    views: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    seed: int = 0
    top_classes: int = 3
    features: FeatureConfig = field(default_factory=FeatureConfig)
    batch_size: int = 16
    threads: int = 0
    accelerator: str = "cpu"
    report: bool = True
    as_dataset: bool = False
    score_threshold: float = 0.3
    copy_images: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if bool(self.data.root) == (self.images is not None):
            found = "both" if self.images is not None else "neither"
            raise ValueError(f"expected either --data.root or --images, found {found}")
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"expected 0 <= score_threshold <= 1, found {self.score_threshold}")
        for name, least in (("views", 0), ("seed", 0), ("threads", 0), ("top_classes", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} >= {least}, found {getattr(self, name)}")
        if self.views:
            geometry_of(self.augmentation)
        if self.features.strides and not self.views:
            raise ValueError(
                "expected --views with --features.strides, since maps cannot be moved as boxes can, found 0"
            )
        if self.as_dataset and (self.views or self.split != "train"):
            raise ValueError(
                f"expected --views 0 and --split train with --as_dataset, found {self.views} and {self.split}"
            )
