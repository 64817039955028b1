"""An inspection from config to files: what is in a data set, what is wrong with it, and pictures of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.records import write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.images import MID_GREY
from ofa_det.data.inspection import InspectConfig, examine
from ofa_det.data.inspection_report import Inspection, summary
from ofa_det.data.loading import image_batches, spread
from ofa_det.evaluation.pictures import draw_detections, encode_jpeg, ground_truth_detections

RECORD_FILE = "inspection.json"
PICTURES_FILE = "pictures.jpg"

_COLUMNS = 5
_CELL_PX = 240
_TITLE_PX = 18
_SHEET_BYTES = 600_000


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What an inspection found and wrote.

    Args:
        record: what was found.
        record_file: the same as JSON.
        pictures_file: images with their boxes.
    """

    record: Inspection
    record_file: Path
    pictures_file: Path

    def table(self) -> str:
        """What was found, for reading."""
        return "\n".join(summary(self.record))


def inspect(config: InspectConfig, *, progress: bool = True) -> Inspected:
    """Reads all of a data set, and writes `inspection.json` and `pictures.jpg` to the output folder.

    Args:
        config: of which data, and where to.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no data set, or no such space or anchors.
        ValueError: malformed annotations, no image that can be read, parts of different categories, or anchors that are
            not for the space.
    """
    examined = examine(config, progress=progress)
    output = Path(config.output)
    inspected = Inspected(
        record=examined.record, record_file=output / RECORD_FILE, pictures_file=output / PICTURES_FILE
    )
    write_record(inspected.record_file, inspected.record)
    sheet = contact_sheet(examined.datasets, limit=config.pictures)
    write_atomically(inspected.pictures_file, encode_jpeg(sheet, max_bytes=_SHEET_BYTES))
    return inspected


def contact_sheet(datasets: Mapping[str, CocoDataset], *, limit: int) -> NDArray[np.uint8]:
    """Images with their boxes, spread over the parts of a data set.

    Args:
        datasets: by name of the part.
        limit: images shown.

    Returns:
        (height, width, 3) RGB, five cells of 240 px in a row.
    """
    places = [(name, index) for name, dataset in datasets.items() for index in range(len(dataset))]
    chosen = [places[position] for position in spread(len(places), limit)]
    step = _CELL_PX + _TITLE_PX
    rows = math.ceil(len(chosen) / _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _CELL_PX, rows * step), (250, 250, 250))
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (name, index) in enumerate(chosen):
        left, top = number % _COLUMNS * _CELL_PX, number // _COLUMNS * step
        title = f"{name}: {datasets[name].file_name(index)}"
        canvas.text((left + 4, top + 2), title[-_CELL_PX // 7 :], (0, 0, 0), font)
        picture = Image.fromarray(_picture(datasets[name], index))
        sheet.paste(picture, (left + (_CELL_PX - picture.width) // 2, top + _TITLE_PX))
    return np.asarray(sheet)


def _picture(dataset: CocoDataset, index: int) -> NDArray[np.uint8]:
    """One image that fits into a cell, with its boxes."""
    height, width = dataset.image_size(index)
    scale = (_CELL_PX - 4) / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    (image,) = next(image_batches(dataset.subset(np.array([index])), size=size, batch_size=1))
    if min(size) < 16:
        return np.full((16, 16, 3), MID_GREY, np.uint8)
    return draw_detections(image, ground_truth_detections(dataset, index), dataset.categories, scored=False)
