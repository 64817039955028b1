"""A teacher's labels of a data set, as another data set in COCO layout."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from ofa_det.artefacts.files import read_json, write_json
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import check_identity, read_record, write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.teacher import Teacher
from ofa_det.teachers.yolox import YoloxTeacher

logger = logging.getLogger(__name__)

CACHE_FOLDER = "teacher_labels"
SHARD_IMAGES = 64
"""Images labelled between two writes of the cache: what an interruption may cost."""


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """The teacher's boxes of one image, normalised xyxy; None if its pixels cannot be read."""

    image_id: int
    boxes: tuple[tuple[float, ...], ...] | None
    scores: tuple[float, ...] = ()
    category_ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelShard:
    """A file of the cache."""

    SCHEMA_VERSION: ClassVar[int] = 1

    identity: Mapping[str, Any]
    labels: tuple[ImageLabels, ...]


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """What to label.

    Args:
        teacher: YOLOX detector trained on COCO, as an ONNX file without box decoding.
        data: the data set whose training images are labelled; its own boxes are not used.
        output: folder of the labelled data set; outside the original one.
        score_threshold: boxes of a lower score are left out, 0 to 1.
        threads: CPU threads; 0 takes all cores.
        copy_images: copy the images; otherwise the labelled data set links to the original folders.
        resume: continue a labelling that was interrupted.
    """

    teacher: str
    data: DataConfig
    output: str = "runs/teacher_labels"
    score_threshold: float = 0.3
    threads: int = 0
    copy_images: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"expected 0 <= score_threshold <= 1, found {self.score_threshold}")
        if self.threads < 0:
            raise ValueError(f"expected threads >= 0, found {self.threads}")


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """What a labelling wrote: images with their boxes, and images left out as unreadable."""

    images: int
    boxes: int
    unreadable: int


def label(config: LabelConfig, *, progress: bool = True) -> LabelCounts:
    """Labels a data set with the teacher that the config names; see `label_dataset`."""
    teacher = YoloxTeacher(config.teacher, threads=config.threads)
    identity = {"teacher": Path(config.teacher).name, "teacher_sha256": model_sha256(config.teacher)}
    return label_dataset(teacher, config, identity=identity, progress=progress)


def label_dataset(
    teacher: Teacher, config: LabelConfig, *, identity: Mapping[str, Any], progress: bool = False
) -> LabelCounts:
    """Writes a data set in COCO layout whose training boxes are the teacher's.

    The rule for its content, with the file names of `config`:
    - training annotations: every readable image with the teacher's boxes, `score` and the teacher's categories; an
      image whose pixels cannot be read is left out with a warning;
    - training images: a link to the original folder, or a copy of the files if `copy_images`;
    - validation annotations and images: linked or copied unchanged if they exist and have the teacher's categories,
      else left out with a warning, since a detector trained on the labels could not be scored on them.

    Detections are cached in `teacher_labels/` as they come; with `resume` what is cached is not computed again.

    Args:
        teacher: labels the images.
        config: what to label; the training annotations list the images and at least one category; their boxes are not
            used, an empty list will do.
        identity: JSON values that change whenever the teacher's detections may.
        progress: show a progress bar.

    Raises:
        ValueError: the output exists and `resume` is off, lies in the data set, or belongs to another labelling.
    """
    data, output = config.data, Path(config.output)
    root = Path(data.root).resolve()
    if output.resolve().is_relative_to(root):
        raise ValueError(f"expected an output outside the data set {root}, found {output}")
    if output.exists() and any(output.iterdir()) and not config.resume:
        raise ValueError(f"expected no files in {output}, found some; pass --resume or another --output")
    dataset = open_split(data, "train")
    identity = {**identity, "score_threshold": config.score_threshold, "images": dataset.fingerprint()}
    labels = list(_labelled(teacher, dataset, output / CACHE_FOLDER, identity, config.score_threshold, progress))
    annotations = _to_coco(teacher, dataset, labels, identity)
    _place(root / data.train_images, output / data.train_images, config.copy_images)
    _place_validation(teacher, data, output, config.copy_images)
    write_json(output / data.train_annotations, annotations)  # Last, so that its presence means completeness.
    return LabelCounts(
        images=len(annotations["images"]),
        boxes=len(annotations["annotations"]),
        unreadable=len(dataset) - len(annotations["images"]),
    )


def _labelled(
    teacher: Teacher,
    dataset: CocoDataset,
    cache: Path,
    identity: Mapping[str, Any],
    score_threshold: float,
    progress: bool,
) -> Iterator[ImageLabels]:
    boxes = 0
    with tqdm(total=len(dataset), desc="labelling", unit="image", disable=not progress) as bar:
        for first in range(0, len(dataset), SHARD_IMAGES):
            path = cache / f"images-{first:07d}.json"
            indices = range(first, min(first + SHARD_IMAGES, len(dataset)))
            if path.exists():
                shard = read_record(path, LabelShard)
                check_identity(shard.identity, identity, where=str(path), mend="choose another --output")
                bar.update(len(shard.labels))
            else:
                labels = []
                for index in indices:
                    labels.append(_label(teacher, dataset, index, score_threshold))
                    bar.update()
                shard = LabelShard(identity=identity, labels=tuple(labels))
                write_record(path, shard)
            boxes += sum(len(image.boxes or ()) for image in shard.labels)
            bar.set_postfix(boxes=boxes)
            yield from shard.labels


def _label(teacher: Teacher, dataset: CocoDataset, index: int, score_threshold: float) -> ImageLabels:
    image_id = dataset.image_id(index)
    try:
        image = dataset.image(index)
    except ValueError as error:
        logger.warning("image left out: %s", error)
        return ImageLabels(image_id=image_id, boxes=None)
    detections = teacher.detect(image)
    kept = detections.scores >= score_threshold
    return ImageLabels(
        image_id=image_id,
        boxes=tuple(map(tuple, detections.boxes[kept].tolist())),
        scores=tuple(detections.scores[kept].tolist()),
        category_ids=tuple(detections.category_ids[kept].tolist()),
    )


def _to_coco(
    teacher: Teacher, dataset: CocoDataset, labels: list[ImageLabels], identity: Mapping[str, Any]
) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, image in enumerate(labels):
        if image.boxes is None:
            continue
        height, width = dataset.image_size(index)
        images.append({"id": image.image_id, "file_name": dataset.file_name(index), "width": width, "height": height})
        corners = np.array(image.boxes, np.float64).reshape(-1, 4) * (width, height, width, height)
        sizes = corners[:, 2:] - corners[:, :2]
        boxes = np.concatenate([corners[:, :2], sizes], axis=1).round(2).tolist()
        for box, score, category_id in zip(boxes, image.scores, image.category_ids, strict=True):
            if min(box[2:]) <= 0:  # No extent left after clipping to the image and rounding.
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.image_id,
                    "category_id": category_id,
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "score": score,
                }
            )
    return {
        "info": {"description": "boxes detected by a teacher", "schema_version": LabelShard.SCHEMA_VERSION, **identity},
        "images": images,
        "annotations": annotations,
        "categories": [asdict(category) for category in teacher.categories],
    }


def _place_validation(teacher: Teacher, config: DataConfig, output: Path, copy_images: bool) -> None:
    root = Path(config.root).resolve()
    annotations, images = root / config.val_annotations, root / config.val_images
    if not (annotations.exists() and images.exists()):
        logger.warning("%s has no validation part; the labelled data set will have none either", root)
        return
    found = {(category.get("id"), category.get("name")) for category in read_json(annotations).get("categories", [])}
    if found != {(category.id, category.name) for category in teacher.categories}:
        logger.warning("the validation part of %s is left out: its categories are not the teacher's", root)
        return
    _place(annotations, output / config.val_annotations, copy_images)
    _place(images, output / config.val_images, copy_images)


def _place(source: Path, target: Path, copy: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy and source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif copy:
        shutil.copyfile(source, target)
    elif not target.is_symlink():
        target.symlink_to(source.resolve())
