"""Pictures of the worst images, and the errors behind them, as files of a build."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ofa_det.artefacts.build_record import BuildFolder, cap_name
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.pictures import encode_jpeg
from ofa_det.report.errors import IGNORED, NOTHING, DetectorErrors, Found, find_errors

REPORT_FOLDER = "report"
HIT, MISSED, FALSE = (40, 160, 70), (225, 30, 45), (245, 150, 0)
"""Colours of boxes: objects that were found, objects that were not, detections of nothing or of another class."""

_PICTURE_WIDTH_PX = 480
_PICTURE_BYTES = 60_000


def detector_errors(folder: BuildFolder, cap_ms: float, data: DataConfig) -> DetectorErrors | None:
    """Errors of a file, with pictures; those of the same detections are taken from the build's folder.

    Args:
        folder: of the build; takes `report/errors_CAP.json` and the pictures.
        cap_ms: that the file is for.
        data: the data set.

    Returns:
        None where they were never made and the data set is not there any more.
    """
    detections = folder.evaluation(cap_ms, "int8") / "detections.json"
    sha256 = model_sha256(detections)
    path = folder.root / REPORT_FOLDER / f"errors_{cap_name(cap_ms)}.json"
    if path.is_file():
        known = read_record(path, DetectorErrors)
        if known.detections_sha256 == sha256 and all((folder.root / name).is_file() for name in known.pictures):
            return known
    if not Path(data.root).is_dir():
        return None
    dataset = open_split(data, "val")
    errors, found = find_errors(dataset, json.loads(detections.read_bytes()), detections_sha256=sha256)
    pictures = []
    for number, image in enumerate(errors.worst, start=1):
        picture = draw_errors(dataset, image.index, found[image.index], errors.threshold)
        name = f"{REPORT_FOLDER}/worst_{cap_name(cap_ms)}_{number}.jpg"
        write_atomically(folder.root / name, encode_jpeg(picture, max_bytes=_PICTURE_BYTES))
        pictures.append(name)
    errors = replace(errors, pictures=tuple(pictures))
    write_record(path, errors)
    return errors


def draw_errors(dataset: CocoDataset, index: int, found: Found, threshold: float) -> NDArray[np.uint8]:
    """Draws an image with its found and missed objects, and what was detected beside them.

    Args:
        dataset: that it is of.
        index: of the image.
        found: its detections.
        threshold: weaker detections are left out.

    Returns:
        (H, W, 3) RGB, 480 px wide.
    """
    height, width = dataset.image_size(index)
    size = max(1, round(height * _PICTURE_WIDTH_PX / width)), _PICTURE_WIDTH_PX
    (image,) = next(image_batches(dataset.subset(np.array([index])), size=size, batch_size=1))
    picture = Image.fromarray(image)
    canvas, scale = ImageDraw.Draw(picture), np.array([size[1], size[0]] * 2)
    annotations = dataset.annotations(index)
    shown = (found.scores >= threshold) & (found.matches != IGNORED)
    met = found.matches[shown & (found.matches != NOTHING)]
    right = np.zeros(len(found.matches), np.bool_)
    right[found.matches >= 0] = (
        annotations.labels[found.matches[found.matches >= 0]] == found.labels[found.matches >= 0]
    )
    for row in np.flatnonzero(~annotations.ignored):
        missed = row not in met
        _box(canvas, annotations.boxes[row] * scale, MISSED if missed else HIT, 3 if missed else 2)
    for row in np.flatnonzero(shown & ~right):
        _box(canvas, found.boxes[row] * scale, FALSE, 2)
    return np.asarray(picture)


def _box(canvas: ImageDraw.ImageDraw, box: NDArray[np.floating], colour: tuple[int, int, int], width_px: int) -> None:
    low, high = np.sort(box.reshape(2, 2), axis=0).tolist()
    canvas.rectangle((*low, *high), outline=colour, width=width_px)
