"""Shows what is in a data set, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.records import record_content, write_record
from ofa_det.cli.command import Printed, command
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.images import MID_GREY
from ofa_det.data.inspection import InspectConfig, inspect
from ofa_det.data.inspection_report import Inspection
from ofa_det.data.loading import image_batches, spread
from ofa_det.evaluation.pictures import draw_detections, encode_jpeg, ground_truth_detections

RECORD_FILE = "inspection.json"
PICTURES_FILE = "pictures.jpg"

_MOST_CLASSES = 15
_MOST_NAMED = 5
_COLUMNS = 5
_CELL_PX = 240
_TITLE_PX = 18
_SHEET_BYTES = 600_000


def run(config: InspectConfig) -> Printed:
    """Inspects and writes; gives what was found."""
    inspected = inspect(config)
    output = Path(config.output)
    write_record(output / RECORD_FILE, inspected.record)
    sheet = contact_sheet(inspected.datasets, limit=config.pictures)
    write_atomically(output / PICTURES_FILE, encode_jpeg(sheet, max_bytes=_SHEET_BYTES))
    lines = [*_report(inspected.record), f"wrote {output / RECORD_FILE} and {output / PICTURES_FILE}"]
    return Printed(text="\n".join(lines), values=record_content(inspected.record))


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


def _report(record: Inspection) -> Iterator[str]:
    yield f"{record.root}, objects at {record.resolution} px"
    yield "part   images  without objects  objects  ignored   < 8 px  8 - 32  32 - 96     > 96"
    for name, part in record.splits.items():
        shares = (_percent(size, part.objects) for size in part.sizes)
        sizes = "".join(f"{share:>{width}}" for share, width in zip(shares, (9, 8, 9, 9), strict=True))
        yield f"{name:<5}{part.images:>8}{part.images_without_objects:>17}{part.objects:>9}{part.ignored:>9}{sizes}"
    for name, part in record.splits.items():
        smallest, median, largest = ("x".join(map(str, size)) for size in part.image_sizes_px)
        yield f"{name} images: {smallest} px at least, {median} median, {largest} at most"
    yield from _class_table(record)
    yield from _named("broken files", record.broken)
    looks = {"file": "", "picture": " (looks the same)"}
    pairs = [f"{pair.second} is {pair.first}{looks[pair.kind]}" for pair in record.duplicates]
    yield from _named("validation images that are training images", pairs)
    yield from (str(problem) for problem in record.problems)
    yield from (f"WARNING: {warning}" for warning in record.warnings)
    if not record.warnings:
        yield "no warnings"


def _named(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        more = ", ..." if len(names) > _MOST_NAMED else ""
        yield f"{len(names)} {what}: {', '.join(names[:_MOST_NAMED])}{more}"


def _class_table(record: Inspection) -> Iterator[str]:
    """The classes, the commonest first; placed recall is that of fitted anchors."""
    ordered = sorted(record.classes, key=lambda entry: -entry.objects["train"])
    shown = ordered[:_MOST_CLASSES]
    width = max(len("class"), *(len(entry.name) for entry in shown))
    parts = list(record.splits)
    counts = "".join(f"{f'{part} images':>14}{'objects':>9}" for part in parts)
    yield f"{'class':{width}}{counts}  median px   < 8 px   placed recall"
    for entry in shown:
        counts = "".join(f"{entry.images[part]:>14}{entry.objects[part]:>9}" for part in parts)
        side = "-" if entry.side_px is None else f"{entry.side_px:.0f}"
        recall = "-" if entry.recall is None else f"{100 * entry.recall:.1f} %"
        tiny = _percent(entry.tiny, entry.objects["train"])
        yield f"{entry.name:{width}}{counts}{side:>11}{tiny:>9}{recall:>16}"
    if len(ordered) > len(shown):
        yield f"{len(ordered) - len(shown)} more classes"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"


main = command(
    "inspect",
    "Show what is in a data set, and what is wrong with it.",
    InspectConfig,
    run,
    paths={"DATA": "--data.root"},
)
