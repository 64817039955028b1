"""Pictures of detections: one image, or ground truth and several detectors side by side."""

from __future__ import annotations

import colorsys
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import write_atomically
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches, spread
from ofa_det.detection.detections import Detections, Predictor
from ofa_det.evaluation.scoring import predictions

MAX_PICTURE_BYTES = 200_000
"""A contact sheet fits into a repository's documentation."""

_TITLE_PX = 24
_GAP_PX = 4
_BACKGROUND = (250, 250, 250)
_GOLDEN_RATIO = 0.618034


def ground_truth_detections(dataset: CocoDataset, index: int) -> Detections:
    """The boxes of an image as detections of score 1, without crowd boxes."""
    annotations = dataset.annotations(index)
    objects = ~annotations.ignored
    ids = np.array([category.id for category in dataset.categories], np.int64)
    return Detections(
        boxes=annotations.boxes[objects],
        scores=np.ones(int(objects.sum()), np.float32),
        category_ids=ids[annotations.labels[objects]],
    )


def draw_detections(
    image: NDArray[np.uint8],
    detections: Detections,
    categories: Sequence[Category],
    *,
    score_threshold: float = 0.3,
    scored: bool = True,
) -> NDArray[np.uint8]:
    """Draws boxes with class names and scores.

    Args:
        image: (H, W, 3) RGB; not changed.
        detections: normalised to the image.
        categories: names of the category ids; an id without a name is shown as a number.
        score_threshold: weaker detections are left out.
        scored: whether labels carry scores.

    Returns:
        (H, W, 3).
    """
    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    names = {category.id: category.name for category in categories}
    ranks = {category.id: rank for rank, category in enumerate(categories)}
    size_px = min(picture.size)
    line_px, font = max(2, size_px // 160), ImageFont.load_default(max(10, size_px // 26))
    scale = np.array([*picture.size, *picture.size], np.float32)
    # The best last, so that its label lies on top.
    for row in np.flatnonzero(detections.scores >= score_threshold)[::-1]:
        low, high = np.sort((detections.boxes[row].clip(0, 1) * scale).reshape(2, 2), axis=0).tolist()
        category_id = int(detections.category_ids[row])
        name = names.get(category_id, str(category_id))
        text = f"{name} {detections.scores[row]:.2f}" if scored else name
        _draw_box(canvas, (*low, *high), text, _colour(ranks.get(category_id, category_id)), line_px, font)
    return np.asarray(picture)


def contact_sheet(
    dataset: CocoDataset,
    predictors: Mapping[str, Predictor],
    *,
    limit: int = 6,
    score_threshold: float = 0.3,
    cell_width_px: int = 280,
) -> NDArray[np.uint8]:
    """Draws ground truth and what several detectors find side by side, a row for each image.

    Args:
        dataset: images, spread evenly over the data set, and ground truth.
        predictors: detector by the title of its column.
        limit: images shown.
        score_threshold: weaker detections are left out.
        cell_width_px: width of a picture.

    Returns:
        (height, width, 3) RGB.
    """
    positions = spread(len(dataset), limit)
    shown = dataset.subset(np.array(positions, np.int64))
    columns = [("ground truth", [ground_truth_detections(shown, index) for index in range(len(shown))])]
    columns += [(title, list(predictions(predictor, shown))) for title, predictor in predictors.items()]
    rows = []
    for index in range(len(shown)):
        height, width = shown.image_size(index)
        size = max(1, round(height * cell_width_px / width)), cell_width_px
        (image,) = next(image_batches(shown.subset(np.array([index])), size=size, batch_size=1))
        cells = [
            draw_detections(
                image, detections[index], dataset.categories, score_threshold=score_threshold, scored=number > 0
            )
            for number, (_, detections) in enumerate(columns)
        ]
        rows.append(cells)
    return _table([title for title, _ in columns], rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Pastes pictures of equal width under their titles; those of one row have one height."""
    cell_width = rows[0][0].shape[1]
    step = cell_width + _GAP_PX
    height = _TITLE_PX + sum(row[0].shape[0] + _GAP_PX for row in rows)
    sheet = Image.new("RGB", (len(titles) * step + _GAP_PX, height), _BACKGROUND)
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, title in enumerate(titles):
        centre = _GAP_PX + number * step + cell_width / 2, _TITLE_PX / 2
        canvas.text(centre, title, (0, 0, 0), font, anchor="mm")
    top = _TITLE_PX
    for row in rows:
        for number, cell in enumerate(row):
            sheet.paste(Image.fromarray(cell), (_GAP_PX + number * step, top))
        top += row[0].shape[0] + _GAP_PX
    return np.asarray(sheet)


def write_picture(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Writes a picture (H, W, 3) atomically, as JPEG or PNG by its suffix.

    Raises:
        ValueError: another suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".jpg", ".jpeg"):
        write_atomically(path, encode_jpeg(image))
    elif suffix == ".png":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        write_atomically(path, buffer.getvalue())
    else:
        raise ValueError(f"expected a picture ending in .jpg or .png, found {os.fspath(path)}")


def encode_jpeg(image: NDArray[np.uint8], *, max_bytes: int = MAX_PICTURE_BYTES) -> bytes:
    """Encodes a picture (H, W, 3), with lower quality and then smaller until it has at most `max_bytes`."""
    picture, quality = Image.fromarray(image), 92
    while True:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= max_bytes or min(picture.size) < 32:
            return buffer.getvalue()
        if quality > 70:
            quality -= 6
        else:
            picture = picture.resize((picture.width * 5 // 6, picture.height * 5 // 6), Image.Resampling.LANCZOS)


def _draw_box(
    canvas: ImageDraw.ImageDraw,
    box: tuple[float, ...],
    text: str,
    colour: tuple[int, int, int],
    line_px: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    canvas.rectangle(box, outline=colour, width=line_px)
    _, _, text_width, text_height = canvas.textbbox((0, 0), text, font=font)
    label_height = text_height + 4
    # Above the box where there is room, else below it, else inside.
    tops = (box[1] - label_height, box[3], box[1])
    left = box[0]
    top = next((top for top in tops[:2] if 0 <= top <= canvas.im.size[1] - label_height), tops[2])
    canvas.rectangle((left, top, left + text_width + 4, top + label_height - 1), fill=colour)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    canvas.text((left + 2, top + 1), text, (0, 0, 0) if luminance > 140 else (255, 255, 255), font=font)


def _colour(rank: int) -> tuple[int, int, int]:
    """Steps of the golden ratio around the colour circle keep neighbours apart."""
    red, green, blue = colorsys.hsv_to_rgb(rank * _GOLDEN_RATIO % 1, 0.85, 0.95)
    return int(red * 255), int(green * 255), int(blue * 255)
