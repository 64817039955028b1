"""A teacher's labels as a data set in COCO layout, for training that knows of no teacher."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ofa_det.artefacts.files import write_json
from ofa_det.data.splits import DataConfig
from ofa_det.teachers.label_file import TeacherLabels

logger = logging.getLogger(__name__)


def write_pseudo_dataset(
    labels: TeacherLabels,
    output: Path,
    *,
    data: DataConfig,
    images: Path,
    score_threshold: float,
    copy_images: bool,
) -> int:
    """Writes annotations of the teacher's boxes beside the images.

    - training annotations: every readable image with the boxes whose best class scores enough, as objects of that
      class, with `score`;
    - training images: a link to the original folder, or a copy of the files;
    - validation annotations and images: linked or copied unchanged, if there are any.

    Args:
        labels: of whole images.
        output: folder of the data set, with the file names of `data`.
        data: the data set that was labelled; without a root, a folder was.
        images: folder of the images.
        score_threshold: boxes of a lower score are left out.
        copy_images: copy instead of linking.

    Returns:
        The number of boxes.
    """
    content = _to_coco(labels, score_threshold)
    _place(images, output / data.train_images, copy_images)
    validation = [Path(data.root) / path for path in (data.val_annotations, data.val_images)]
    if data.root and all(path.exists() for path in validation):
        for path, name in zip(validation, (data.val_annotations, data.val_images), strict=True):
            _place(path, output / name, copy_images)
    else:
        logger.warning("there is no validation part; the labelled data set will have none either")
    write_json(output / data.train_annotations, content)  # Last, so that its presence means completeness.
    return len(content["annotations"])


def _to_coco(labels: TeacherLabels, score_threshold: float) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row in np.flatnonzero(labels.readable).tolist():
        height, width = labels.image_sizes[row].tolist()
        image_id = int(labels.image_ids[row])
        images.append({"id": image_id, "file_name": labels.file_names[row], "width": width, "height": height})
        found = labels.of(row, score_threshold=score_threshold)
        corners = found.boxes.astype(np.float64) * (width, height, width, height)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).round(2).tolist()
        for box, label, score in zip(boxes, found.classes[:, 0].tolist(), found.scores[:, 0].tolist(), strict=True):
            if min(box[2:]) > 0:  # Rounding may leave no extent.
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": labels.categories[label].id,
                        "bbox": box,
                        "area": round(box[2] * box[3], 2),
                        "iscrowd": 0,
                        "score": score,
                    }
                )
    teachers = ", ".join(source.name for source in labels.header.teacher)
    return {
        "info": {"description": f"boxes that {teachers} found, of score {score_threshold:g} and above"},
        "images": images,
        "annotations": annotations,
        "categories": [asdict(category) for category in labels.categories],
    }


def _place(source: Path, target: Path, copy: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy and source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif copy:
        shutil.copyfile(source, target)
    elif not target.is_symlink():
        target.symlink_to(source.resolve())
