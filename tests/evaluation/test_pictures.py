import io

import numpy as np
import pytest
from PIL import Image

from ofa_det.arch.classes import Category
from ofa_det.data.images import read_image
from ofa_det.detection.detections import Detections
from ofa_det.evaluation.pictures import (
    contact_sheet,
    draw_detections,
    encode_jpeg,
    ground_truth_detections,
    write_picture,
)

CATEGORIES = (Category(id=3, name="cell"), Category(id=8, name="dish"))


def found(*rows) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        boxes=table[:, :4].astype(np.float32),
        scores=table[:, 4].astype(np.float32),
        category_ids=table[:, 5].astype(np.int64),
    )


class Everywhere:
    """Finds one object in the middle of every image."""

    input_size = (32, 32)

    def predict(self, images):
        return [found((0.25, 0.25, 0.75, 0.75, 0.9, 3)) for _ in images]


def test_boxes_are_drawn_where_they_are_in_the_colour_of_their_class():
    image = np.zeros((100, 200, 3), np.uint8)
    one = draw_detections(image, found((0.25, 0.4, 0.5, 0.8, 0.9, 3)), CATEGORIES)
    two = draw_detections(image, found((0.25, 0.4, 0.5, 0.8, 0.9, 8)), CATEGORIES)
    assert not image.any()
    colour = one[80, 75]
    assert colour.any()
    assert (one[60, 50] == colour).all()
    assert not one[60, 75].any()
    assert not np.array_equal(colour, two[80, 75])


def test_weak_detections_are_left_out():
    image = np.zeros((100, 200, 3), np.uint8)
    weak = found((0.25, 0.4, 0.5, 0.8, 0.2, 3))
    assert not draw_detections(image, weak, CATEGORIES, score_threshold=0.3).any()
    assert draw_detections(image, weak, CATEGORIES, score_threshold=0.1).any()


@pytest.mark.parametrize(
    "row", [(-0.5, -0.5, 1.5, 1.5, 0.9, 3), (0.8, 0.8, 0.2, 0.2, 0.9, 3), (0.5, 0.5, 0.5, 0.5, 1, 77)]
)
def test_odd_boxes_do_not_break_the_drawing(row):
    assert draw_detections(np.zeros((50, 60, 3), np.uint8), found(row), CATEGORIES).any()


def test_no_detections_leave_the_image():
    image = np.full((20, 30, 3), 9, np.uint8)
    assert np.array_equal(draw_detections(image, found(), CATEGORIES), image)


def test_ground_truth_is_shown_without_crowds(shapes):
    crowded = [index for index in range(len(shapes)) if shapes.annotations(index).ignored.any()]
    assert crowded
    annotations = shapes.annotations(crowded[0])
    shown = ground_truth_detections(shapes, crowded[0])
    assert len(shown) == (~annotations.ignored).sum()
    assert set(shown.category_ids.tolist()) <= {category.id for category in shapes.categories}


def test_a_contact_sheet_has_a_row_an_image_and_a_column_a_detector(shapes):
    one = contact_sheet(shapes, {"float": Everywhere()}, limit=2, cell_width_px=128)
    two = contact_sheet(shapes, {"float": Everywhere(), "int8": Everywhere()}, limit=3, cell_width_px=128)
    assert two.shape[1] - one.shape[1] == 128 + 4
    assert two.shape[0] - one.shape[0] == 96 + 4
    assert len(encode_jpeg(two)) < 200_000


def test_a_picture_is_made_to_fit():
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    content = encode_jpeg(noise, max_bytes=60_000)
    assert len(content) <= 60_000
    assert Image.open(io.BytesIO(content)).width > 100


def test_the_suffix_decides_the_format(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_picture(tmp_path / "new" / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "new" / "a.png"), image)
    write_picture(tmp_path / "a.JPG", image)
    assert (tmp_path / "a.JPG").read_bytes()[:2] == b"\xff\xd8"
    with pytest.raises(ValueError, match=r"expected a picture ending in \.jpg or \.png, found .*a\.gif"):
        write_picture(tmp_path / "a.gif", image)
