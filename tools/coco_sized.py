"""A data set of COCO's size without COCO's content, to measure how long it takes to open one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

NUM_IMAGES, NUM_BOXES = 118_287, 860_001
"""Of COCO's instances_train2017.json."""

_WIDTH, _HEIGHT = 640, 480
_NUM_CATEGORIES = 80
_CROWD_EVERY = 86  # COCO has 10,000 crowd regions among its training boxes.
_POLYGON_POINTS = 25  # With these the file has COCO's 450 MB, most of which are polygons that detection does not need.
_LINKS = 10_000  # Names of one file; file systems bound them.


def write_coco_sized(
    root: str | os.PathLike[str], *, num_images: int = NUM_IMAGES, num_boxes: int = NUM_BOXES, seed: int = 0
) -> Path:
    """Writes `annotations/instances_train2017.json` and `train2017/`, whose images are names of a few grey files.

    Args:
        root: folder of the data set, made if missing.
        num_images: images, 640 x 480 px.
        num_boxes: annotations with polygons, spread over the images at random.
        seed: of the boxes.

    Returns:
        `root`.
    """
    root = Path(root)
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    encoded = cv2.imencode(".jpg", np.full((_HEIGHT, _WIDTH, 3), 128, np.uint8))[1].tobytes()
    for number in range(num_images):
        path = root / "train2017" / _file_name(number)
        if number % _LINKS:
            path.hardlink_to(root / "train2017" / _file_name(number - number % _LINKS))
        else:
            path.write_bytes(encoded)
    categories = [{"id": i + 1, "name": f"category {i + 1}", "supercategory": "any"} for i in range(_NUM_CATEGORIES)]
    with (root / "annotations" / "instances_train2017.json").open("w") as file:
        file.write('{"info": {}, "licenses": [], "images": [')
        file.writelines(_image_entries(num_images))
        file.write('], "annotations": [')
        file.writelines(_annotation_entries(num_images, num_boxes, seed))
        file.write(f'], "categories": {json.dumps(categories)}}}')
    return root


def _file_name(number: int) -> str:
    return f"{number:012d}.jpg"


def _image_entries(count: int) -> Iterator[str]:
    for number in range(count):
        name = _file_name(number)
        yield (
            f'{"," if number else ""}{{"license": 3, "file_name": "{name}", "coco_url": "http://images/{name}", '
            f'"height": {_HEIGHT}, "width": {_WIDTH}, "date_captured": "2013-11-14 11:18:45", "id": {number + 1}}}'
        )


def _annotation_entries(num_images: int, count: int, seed: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    owners = rng.integers(1, num_images + 1, count).tolist()
    labels = rng.integers(1, _NUM_CATEGORIES + 1, count).tolist()
    low = rng.random((count, 2)) * (_WIDTH * 0.9, _HEIGHT * 0.9)
    sides = rng.random((count, 2)) * ((_WIDTH, _HEIGHT) - low) * 0.9 + 1
    boxes = np.concatenate([low, sides], axis=1).round(2).tolist()
    polygons = [str(polygon) for polygon in (rng.random((500, 2 * _POLYGON_POINTS)) * _HEIGHT).round(2).tolist()]
    for number, (owner, label, box) in enumerate(zip(owners, labels, boxes, strict=True)):
        yield (
            f'{"," if number else ""}{{"segmentation": [{polygons[number % len(polygons)]}], '
            f'"area": {box[2] * box[3] / 2:.4f}, "iscrowd": {int(number % _CROWD_EVERY == 0)}, "image_id": {owner}, '
            f'"bbox": {box}, "category_id": {label}, "id": {number + 1}}}'
        )
