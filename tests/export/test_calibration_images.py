from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.export.calibration_images import calibration_images, chosen_positions

ANCHORS = (((0.1, 0.1),), ((0.5, 0.5),))


@pytest.fixture
def dataset(tmp_path):
    """20 images with a small first class each; the 7th also a large one, the 12th a small second class."""
    boxes = [(number, 1, [1, 1, 2, 2]) for number in range(20)] + [(7, 1, [5, 5, 10, 10]), (12, 2, [1, 1, 2, 2])]
    for number in range(20):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / f"{number}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 20} for n in range(20)],
        "annotations": [
            {"id": id_ + 1, "image_id": image, "category_id": category, "bbox": box, "area": 4, "iscrowd": 0}
            for id_, (image, category, box) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return CocoDataset.open(tmp_path / "annotations.json", tmp_path)


@pytest.mark.parametrize("count", [2, 4, 10])
def test_every_class_is_seen_on_every_level_that_finds_it(dataset, count):
    chosen = chosen_positions(dataset, count, ANCHORS)
    assert len(chosen) == len(set(chosen)) == count
    assert {7, 12} <= set(chosen)


def test_others_are_spread(dataset):
    chosen = chosen_positions(dataset, 6, ANCHORS)
    assert max(np.diff(chosen)) <= 6


def test_images_have_the_input_size(dataset, caplog):
    images = calibration_images(dataset, 30, anchor_sizes=ANCHORS, resolution=16)
    assert len(images) == 20
    assert {image.shape for image in images} == {(16, 16, 3)}
    assert "calibrating with all 20 images, fewer than the 30 asked for" in caplog.text
