import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa_det.data.coco_dataset import CocoDataset


class CocoWriter:
    """Writes small COCO files; images are 80 x 40 px (width x height) unless said otherwise."""

    def __init__(self, folder: Path) -> None:
        self.annotation_file = folder / "annotations.json"
        self.images = folder / "images"
        self.images.mkdir()
        self.content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 7, "name": "late"}, {"id": 3, "name": "early"}],
        }

    def add_image(self, image_id: int, **fields) -> Path:
        name = fields.setdefault("file_name", f"{image_id}.png")
        self.content["images"].append({"id": image_id, "width": 80, "height": 40, **fields})
        noise = np.random.default_rng(image_id).integers(0, 256, (40, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(self.images / name)
        return self.images / name

    def add_box(self, image_id: int, bbox, category_id: int = 3, **fields) -> None:
        number = len(self.content["annotations"])
        self.content["annotations"].append(
            {"id": number, "image_id": image_id, "category_id": category_id, "bbox": bbox, **fields}
        )

    def open(self) -> CocoDataset:
        self.annotation_file.write_text(json.dumps(self.content))
        return CocoDataset.open(self.annotation_file, self.images)


@pytest.fixture
def coco(tmp_path) -> CocoWriter:
    return CocoWriter(tmp_path)
