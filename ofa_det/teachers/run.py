"""Labelling of one data set, or folder of pictures, by one teacher."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ofa_det.artefacts.locks import LOCK_FILE, alone_in_output
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import open_split
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.feature_file import ANY_PX, FEATURES_FOLDER, FeatureHeader, StoredFeatures
from ofa_det.teachers.features import SHARD_IMAGES, FeatureTeacher, check_maps, store_features
from ofa_det.teachers.image_folder import ImageFolder, ImageSource
from ofa_det.teachers.label_file import LABELS_NAME, LabelHeader, TeacherLabels
from ofa_det.teachers.labelling import Labelled, check_header, label_images, of_whole_images
from ofa_det.teachers.mapping import map_categories
from ofa_det.teachers.opening import OpenedTeacher, open_teacher
from ofa_det.teachers.pseudo_dataset import write_pseudo_dataset
from ofa_det.teachers.report import REPORT_FOLDER, TeacherReport, write_report
from ofa_det.teachers.teacher import MIN_SCORE
from ofa_det.teachers.views import geometry_of

logger = logging.getLogger(__name__)

MANIFEST_NAME = "labels.json"
_SHARDS = "shards"
_WHOLE_SHARDS = "shards_whole_images"


@dataclass(frozen=True, kw_only=True)
class LabelManifest:
    """`labels.json`: what was labelled, with what, and what came of it.

    Args:
        labels: header of the labels, with the teacher and the mapping of its categories.
        file, sha256: of the labels.
        data: root of the data set, or folder of the pictures.
        split: of the data set; None of a folder.
        images, views_of_each: that were labelled; the whole image alone is one view.
        boxes: in all views, with a score of at least `min_score`.
        min_score: of any label.
        bytes_per_image: of the file.
        images_per_second: now; None if all labels were there.
        unreadable: names of the images without labels.
        ap, ap50: of whole images; None without ground truth or report.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    labels: LabelHeader
    file: str
    sha256: str
    data: str
    split: str | None
    images: int
    views_of_each: int
    boxes: int
    min_score: float
    bytes_per_image: float
    images_per_second: float | None
    unreadable: tuple[str, ...]
    ap: float | None
    ap50: float | None


@dataclass(frozen=True, kw_only=True)
class LabelSummary:
    """What a labelling wrote.

    Args:
        manifest: as in the file.
        report: None without ground truth, or if it was not asked for.
        dataset_boxes: of the data set in COCO layout; None without one.
    """

    manifest: LabelManifest
    report: TeacherReport | None
    dataset_boxes: int | None


@alone_in_output
def label(config: LabelConfig, *, progress: bool = True) -> LabelSummary:
    """Labels images with the teacher that the config names, see `label_with`.

    Raises:
        FileNotFoundError: no such teacher or data.
        ValueError: not a teacher that can be run, categories that do not match, or an output of something else.
    """
    _check_output(config)
    source = _open_source(config)
    opened = open_teacher(
        config.teacher,
        decoder=config.decoder,
        labels=config.labels,
        weights=config.weights,
        threads=config.threads,
        accelerator=config.accelerator,
    )
    return label_with(opened, source, config, progress=progress)


def label_with(
    opened: OpenedTeacher, source: ImageSource, config: LabelConfig, *, progress: bool = False
) -> LabelSummary:
    """Writes labels, manifest and report, and with `as_dataset` a data set.

    Args:
        opened: the teacher.
        source: the images.
        config: how to label.
        progress: show progress bars.

    Raises:
        ValueError: categories that do not match, or an output of another labelling.
    """
    output, teacher = Path(config.output), opened.teacher
    dataset = source if isinstance(source, CocoDataset) else None
    categories = teacher.categories if dataset is None else dataset.categories
    mapping = map_categories(teacher.categories, categories, config.aliases)
    mapping.log()
    header = LabelHeader(
        teacher=opened.sources,
        licence=config.licence,
        mapping=mapping,
        images_sha256=source.fingerprint(),
        views=config.views,
        seed=config.seed if config.views else 0,
        augmentation=geometry_of(config.augmentation) if config.views else None,
        top_classes=config.top_classes,
    )
    maps = _prepared(opened, header, len(source), config) if config.features.strides else None
    path = output / LABELS_NAME
    if path.exists():
        found = Labelled(labels=TeacherLabels.read(path), images_per_second=None)
        check_header(found.labels, header, where=str(path))
    else:
        found = _label(opened, source, header, output / _SHARDS, config, progress)
        found.labels.write(path)
    if maps is not None:
        store_features(*maps, source, batch_size=config.batch_size, progress=progress)
    report = _report(opened, dataset, found.labels, config, progress)
    boxes = None
    if config.as_dataset:
        boxes = write_pseudo_dataset(
            found.labels,
            output,
            data=config.data,
            images=_image_folder(config),
            score_threshold=config.score_threshold,
            copy_images=config.copy_images,
        )
    manifest = _manifest(found, path, config, report)
    write_record(output / MANIFEST_NAME, manifest)
    for cache in (_SHARDS, _WHOLE_SHARDS):
        shutil.rmtree(output / cache, ignore_errors=True)
    return LabelSummary(manifest=manifest, report=report, dataset_boxes=boxes)


def _prepared(
    opened: OpenedTeacher, header: LabelHeader, num_images: int, config: LabelConfig
) -> tuple[FeatureTeacher, StoredFeatures]:
    """The teacher, whose maps are had of a black image, and where its maps go.

    Raises:
        ValueError: no maps, or not those that are wanted.
    """
    teacher = opened.teacher
    if not isinstance(teacher, FeatureTeacher):
        several = len(opened.sources) > 1
        raise ValueError(
            "expected one run folder, torchvision:NAME or .onnx file with --features.strides, found "
            + (f"{len(opened.sources)} teachers" if several else f"a teacher of kind {opened.sources[0].kind}")
        )
    wanted = replace(config.features, resolution=config.features.resolution or teacher.resolution or ANY_PX)
    features = FeatureHeader(labels=header, features=wanted, num_images=num_images, shard_images=SHARD_IMAGES)
    store = StoredFeatures(Path(config.output) / FEATURES_FOLDER, features)
    store.check()
    check_maps(teacher, wanted)
    logger.info(
        "feature maps take %.2f GB; --features.stored, --features.channels and --views say how much", store.bytes / 1e9
    )
    return teacher, store


def _label(
    opened: OpenedTeacher, source: ImageSource, header: LabelHeader, cache: Path, config: LabelConfig, progress: bool
) -> Labelled:
    return label_images(
        opened.teacher,
        source,
        header,
        cache,
        batch_size=config.batch_size,
        threads=config.threads or len(os.sched_getaffinity(0)),
        progress=progress,
    )


def _report(
    opened: OpenedTeacher, dataset: CocoDataset | None, labels: TeacherLabels, config: LabelConfig, progress: bool
) -> TeacherReport | None:
    """The report on whole images; those of stored views are labelled for it."""
    if not config.report or dataset is None:
        return None
    if not len(dataset.objects()):
        logger.info("no report, since the data set has no boxes to compare with")
        return None
    output = Path(config.output)
    if config.views:
        logger.info("whole images are labelled for the report; --report false leaves it out")
        header = of_whole_images(labels.header)
        labels = _label(opened, dataset, header, output / _WHOLE_SHARDS, config, progress).labels
    return write_report(labels, dataset, output / REPORT_FOLDER)


def _manifest(found: Labelled, path: Path, config: LabelConfig, report: TeacherReport | None) -> LabelManifest:
    labels = found.labels
    unreadable = tuple(
        name for name, readable in zip(labels.file_names, labels.readable.tolist(), strict=True) if not readable
    )
    return LabelManifest(
        labels=labels.header,
        file=path.name,
        sha256=model_sha256(path),
        data=config.data.root or str(config.images),
        split=config.split if config.data.root else None,
        images=len(labels),
        views_of_each=labels.num_views,
        boxes=len(labels.boxes),
        min_score=MIN_SCORE,
        bytes_per_image=round(path.stat().st_size / len(labels), 1),
        images_per_second=found.images_per_second,
        unreadable=unreadable,
        ap=None if report is None else report.metrics.AP,
        ap50=None if report is None else report.metrics.AP50,
    )


def _open_source(config: LabelConfig) -> ImageSource:
    if config.images is not None:
        return ImageFolder(Path(config.images))
    return open_split(config.data, config.split)


def _image_folder(config: LabelConfig) -> Path:
    return Path(config.images) if config.images is not None else Path(config.data.root) / config.data.train_images


def _check_output(config: LabelConfig) -> None:
    output = Path(config.output)
    inside = _image_folder(config).resolve()
    if output.resolve().is_relative_to(inside):
        raise ValueError(f"expected an output outside {inside}, found {output}")
    if any(path.name != LOCK_FILE for path in output.iterdir()) and not config.resume:
        raise ValueError(f"expected no files in {output}, found some; pass --resume or another --output")
