"""The larger detector that teaches a build: tried on a few images, then its labels are one of the stages."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.build_record import BuildFolder
from ofa_det.artefacts.model_file import MODEL_FILE
from ofa_det.building.config import BuildConfig
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.feature_file import FEATURES_FOLDER, HEADER_NAME, FeatureConfig, StoredFeatures
from ofa_det.teachers.label_file import LABELS_NAME, TeacherLabels
from ofa_det.teachers.run import label
from ofa_det.teachers.views import geometry_of
from ofa_det.training.config import TrainConfig
from ofa_det.training.teaching import TeacherConfig, open_taught

logger = logging.getLogger(__name__)

FEATURE_WEIGHT = 6.0
"""Of the imitation of feature maps, see docs/results.md, "Distillation"."""

VIEWS, MOST_VIEWS, FEWEST_VIEWS, VIEWS_IN_ALL = 6, 24, 3, 12_000
"""Stored augmentations of an image: 6 of each of 2,016 images were as good for 10 epochs as new ones.

Fewer images, which more epochs see, get more, up to so many in all; time may leave fewer.
"""

TIME_SHARE = 0.2
"""Of a build's time that a teacher's labels of views may take."""

STRIDES, STORED_PX, CHANNELS = (8, 16, 32), 224, 32
"""Feature maps: a level of stride 64 has too few cells to vary; the rest is what was measured."""

TRIED_IMAGES = 8

Trial = Callable[["Teaching"], "Teaching"]
"""Labels a few images; gives the time that all of them will take."""


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What a build learns from beside the annotations.

    Args:
        labels: folder of a teacher's labels of the training images.
        teacher: that makes them in this build; None where they were made before.
        views: stored augmentations of each image; 0 for the whole image alone.
        features: maps that are stored with views.
        imitated: whether there are maps beside the labels.
        seconds: expected for the labels.
    """

    labels: str
    teacher: str | None
    views: int
    features: FeatureConfig
    imitated: bool
    seconds: float


def check_teacher(config: BuildConfig) -> None:
    """Refuses, before anything is made, what cannot be a teacher.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: neither a file nor a folder of a teacher.
    """
    wanted = "an .onnx or .tflite file, a run folder, or a folder of labels"
    for name in (config.teacher or "").split(","):
        path = Path(name.strip())
        if not name or name.startswith("torchvision:"):
            continue
        if not path.exists():
            raise FileNotFoundError(f"expected {wanted} as --teacher, found nothing at {path}")
        if path.is_dir() and not any((path / file).is_file() for file in (MODEL_FILE, LABELS_NAME)):
            raise ValueError(
                f"expected {wanted} as --teacher, found neither {MODEL_FILE} of a run nor {LABELS_NAME} in {path}"
            )
        if path.is_file() and path.suffix not in (".onnx", ".tflite"):
            raise ValueError(f"expected {wanted} as --teacher, found {path}")


def plan_teaching(
    config: BuildConfig,
    trainings: Sequence[TrainConfig],
    space: SearchSpace,
    dataset: CocoDataset,
    folder: BuildFolder,
    notes: list[str],
) -> Teaching | None:
    """How the teacher of a build teaches; it labels a few images for a trial.

    Args:
        config: of the build.
        trainings: that will read the labels.
        space: of the supernet.
        dataset: the training images.
        folder: of the build.
        notes: gets what was chosen and why.

    Raises:
        FileNotFoundError: no such teacher or labels.
        ValueError: not a teacher that can be run, no category in common with the data set, labels of something else, or
            too little time for them.
    """
    if config.teacher is None:
        return None
    if (Path(config.teacher) / LABELS_NAME).is_file():
        return _made_before(config, Path(config.teacher), trainings, space, dataset, notes)
    trial = partial(_tried, config, augmentation=trainings[0].augmentation, images=len(dataset))
    left_s = math.inf if config.hours is None else 3600 * config.hours
    teaching = Teaching(
        labels=str(folder.labels),
        teacher=config.teacher,
        views=max(VIEWS, min(MOST_VIEWS, VIEWS_IN_ALL // len(dataset))),
        features=FeatureConfig(strides=STRIDES, channels=_channels(space), stored=STORED_PX),
        imitated=True,
        seconds=0.0,
    )
    why = _why_not_features(space, [training.augmentation for training in trainings])
    if not why:
        teaching, why = _with_maps(teaching, trial, left_s)
    if why:
        teaching = _without_maps(teaching, trial)
    if teaching.seconds > left_s / 2:
        raise ValueError(
            f"expected labels of {config.teacher} within half of --hours {config.hours:g}, found about "
            f"{teaching.seconds / 60:.0f} min; give it more, or label with `ofa-det label` and pass its folder"
        )
    cells = sum(teaching.features.side(stride) ** 2 for stride in teaching.features.strides)
    room = len(dataset) * teaching.views * teaching.features.channels * cells
    maps = f"and feature maps, in {teaching.views} views of each image, {room / 1e9:.1f} GB"
    if not config.teacher_licence:
        logger.warning("no licence of the teacher is stated, for the model cards; --teacher_licence states it")
    notes.append(
        f"{config.teacher} teaches by its class scores {f'alone: {why}' if why else maps}; labels take about "
        f"{teaching.seconds / 60:.0f} min"
    )
    return teaching


def _with_maps(teaching: Teaching, trial: Trial, left_s: float) -> tuple[Teaching, str]:
    """With as many views as there is time for, and why there are to be none."""
    try:
        tried = trial(teaching)
    except ValueError as error:
        return teaching, str(error)
    if tried.seconds <= TIME_SHARE * left_s:
        return tried, ""
    views = int(tried.views * TIME_SHARE * left_s / tried.seconds)
    if views < FEWEST_VIEWS:
        return teaching, f"{FEWEST_VIEWS} views of each image would take too long"
    return replace(tried, views=views, seconds=round(tried.seconds * views / tried.views, 1)), ""


def _without_maps(teaching: Teaching, trial: Trial) -> Teaching:
    try:
        return trial(replace(teaching, views=0, features=FeatureConfig(), imitated=False))
    except ValueError as error:
        mend = "where `ofa-det label` has options for it, label with that and pass its folder as --teacher"
        raise ValueError(f"{error}; {mend}") from error


def _made_before(
    config: BuildConfig,
    labels: Path,
    trainings: Sequence[TrainConfig],
    space: SearchSpace,
    dataset: CocoDataset,
    notes: list[str],
) -> Teaching:
    """A folder of labels, read for a trial as trainings will read it."""
    if config.teacher_licence:
        raise ValueError(
            f"expected no --teacher_licence with labels, which state their own, found {config.teacher_licence!r}"
        )
    why = "there are no maps"
    if (labels / FEATURES_FOLDER / HEADER_NAME).is_file():
        why = _why_not_levels(space)
    found = Teaching(labels=str(labels), teacher=None, views=0, features=FeatureConfig(), imitated=not why, seconds=0.0)
    for training in trainings:
        open_taught(taught_by(found, training.teacher), training.augmentation, dataset)
    if found.imitated:
        stored = StoredFeatures.read(labels, TeacherLabels.read(labels).header).header.features
        if stored.channels > (most := _channels(space)):
            raise ValueError(
                f"expected at most {most} channels of the maps in {labels}, as the levels have, found "
                f"{stored.channels}; label with fewer --features.channels"
            )
    notes.append(f"the labels in {labels} teach by class scores {'alone: ' + why if why else 'and feature maps'}")
    return found


def label_config(config: BuildConfig, teaching: Teaching, augmentation: AugmentationConfig) -> LabelConfig:
    """Labels of the training images by a teacher.

    Args:
        config: of the build.
        teaching: with a teacher.
        augmentation: of the trainings that read them.
    """
    assert teaching.teacher is not None
    return LabelConfig(
        teacher=teaching.teacher,
        data=replace(config.data, holdout_fraction=0.0),
        output=teaching.labels,
        licence=config.teacher_licence,
        views=teaching.views,
        augmentation=augmentation,
        features=teaching.features,
        seed=config.seed,
        accelerator=config.accelerator,
    )


def taught_by(teaching: Teaching | None, teacher: TeacherConfig) -> TeacherConfig:
    """What a training reads of a teacher."""
    if teaching is None:
        return teacher
    return replace(teacher, labels=teaching.labels, feature_weight=FEATURE_WEIGHT if teaching.imitated else 0.0)


def _why_not_features(space: SearchSpace, augmentations: Sequence[AugmentationConfig]) -> str:
    try:
        for augmentation in augmentations:
            if geometry_of(augmentation) != geometry_of(augmentations[0]):
                return "supernet and detectors vary images in different ways"
    except ValueError as error:
        return str(error)
    return _why_not_levels(space)


def _why_not_levels(space: SearchSpace) -> str:
    of_neck = {level.feature for level in space.levels} <= {node.name for node in space.neck}
    return "" if of_neck else "levels are the backbone's own, whose channels are no common ground"


def _channels(space: SearchSpace) -> int:
    return min([CHANNELS, *(node.width for node in space.neck if node.width)])


def _tried(config: BuildConfig, teaching: Teaching, *, augmentation: AugmentationConfig, images: int) -> Teaching:
    """With the time that labels of so many images are expected to take, by those of a few."""
    whole = label_config(config, teaching, augmentation)
    with tempfile.TemporaryDirectory() as output, _silent():
        few = replace(whole.data, limit=TRIED_IMAGES)
        summary = label(replace(whole, data=few, output=output, report=False), progress=False)
    speed = summary.manifest.images_per_second
    assert speed is not None, "nothing was labelled before"
    # Views and their maps are passes of their own, and the report is of the whole images.
    passes = 1 + teaching.imitated + (1 / teaching.views if teaching.views else 0)
    return replace(teaching, seconds=round(passes * images / speed, 1))


@contextmanager
def _silent() -> Iterator[None]:
    """What a trial tells is told when the labels are made."""
    package = logging.getLogger("ofa_det")
    level = package.level
    package.setLevel(logging.ERROR)
    try:
        yield
    finally:
        package.setLevel(level)
