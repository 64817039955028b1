from collections import Counter

import numpy as np
import pytest

from ofa_det.data.annotations import Annotations
from ofa_det.data.augmentation import Augmenter
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.images import MID_GREY, stretch
from ofa_det.data.windows import MIN_CROP_SHARE, MIN_VISIBILITY, are_fragments, crop_by_iou, zoom_out

FRAME = (0, 0, 200, 100)
LARGE = np.array([[20, 10, 180, 90]], np.float64)
SMALL = np.array([[150, 50, 154, 54]], np.float64)
PLAIN = {"horizontal_flip": 0, "zoom": 0, "colour_jitter": 0, "hue_jitter": 0}


def crops(objects, count=400, frame=FRAME):
    rng = np.random.default_rng(3)
    return [crop_by_iou(frame, np.asarray(objects, np.float64).reshape(-1, 4), rng) for _ in range(count)]


def share_inside(box, window) -> float:
    width, height = (min(box[i + 2], window[i + 2]) - max(box[i], window[i]) for i in (0, 1))
    return max(0, width) * max(0, height) / ((box[2] - box[0]) * (box[3] - box[1]))


def iou(box, window) -> float:
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, window)]
    shared = share_inside(box, window) * areas[0]
    return shared / (areas[0] + areas[1] - shared)


def test_fragments_have_less_than_the_visible_share():
    boxes = np.array([[0, 0, 0.5, 1], [0, 0, 1, 1], [0.9, 0, 1, 1]], np.float32)
    assert are_fragments(boxes, (100, 200), (70, 0, 200, 100)).tolist() == [False, False, False]  # 0.3 of the first
    assert are_fragments(boxes, (100, 200), (71, 0, 200, 100)).tolist() == [True, False, False]
    assert are_fragments(boxes, (100, 200), (-50, 0, 50, 100)).tolist() == [False, True, True]


@pytest.mark.parametrize("frame", [FRAME, (-300, -40, 260, 150)])
def test_a_crop_lies_in_its_frame_within_its_bounds(frame):
    sides = np.subtract(frame[2:], frame[:2])
    for x1, y1, x2, y2 in crops(LARGE, frame=frame):
        assert frame[0] <= x1 < x2 <= frame[2]
        assert frame[1] <= y1 < y2 <= frame[3]
        shares = np.array([x2 - x1, y2 - y1]) / sides
        assert shares.min() >= MIN_CROP_SHARE - 0.5 / sides.min()
        assert 0.5 - 0.02 <= shares[0] / shares[1] <= 2 + 0.05


def test_each_minimum_iou_has_its_share_of_the_crops():
    """The large object has an IoU of 0.64 with its frame; so of 7 choices all but 0.9 find a crop."""
    found = crops(LARGE, 1400)
    assert all(share_inside(LARGE[0], crop) >= MIN_VISIBILITY for crop in found)
    whole = sum(crop == FRAME for crop in found) / len(found)
    assert 1 / 7 - 0.03 < whole < 1 / 6 + 0.03
    at_least = {minimum: np.mean([iou(LARGE[0], crop) >= minimum for crop in found]) for minimum in (0.3, 0.5, 0.7)}
    assert at_least[0.7] >= 1 / 7 - 0.03
    assert at_least[0.5] >= 3 / 7 - 0.03  # 0.5, 0.7 and the whole frame
    assert at_least[0.3] >= 4 / 7 - 0.03


def test_a_small_object_is_magnified_although_no_crop_has_an_iou_with_it():
    found = crops(SMALL)
    assert 0.4 < sum(crop == FRAME for crop in found) / len(found) < 0.6  # The whole, or 0: no other minimum serves.
    cut = [crop for crop in found if crop != FRAME]
    assert all(share_inside(SMALL[0], crop) >= MIN_VISIBILITY for crop in cut)
    magnifications = [200 / (x2 - x1) for x1, _, x2, _ in cut]
    assert np.median(magnifications) > 1.2
    assert max(magnifications) > 2.2


def test_without_objects_every_crop_serves():
    found = Counter(crops([], 200))
    assert len(found) > 100
    assert found[FRAME] < 60


def test_zoom_out_places_the_image_anywhere_on_a_canvas():
    rng = np.random.default_rng(0)
    factors = []
    for _ in range(300):
        x1, y1, x2, y2 = zoom_out((100, 200), 4.0, rng)
        assert x1 <= 0
        assert y1 <= 0
        assert x2 >= 200
        assert y2 >= 100
        factors.append((x2 - x1) / 200)
        assert (y2 - y1) / 100 == pytest.approx(factors[-1], abs=0.01)
    assert 1 <= min(factors) < 1.1
    assert 3.9 < max(factors) <= 4
    assert np.mean(factors) == pytest.approx(2.5, abs=0.15)
    assert zoom_out((100, 200), 1.0, rng) == (0, 0, 200, 100)


@pytest.mark.parametrize(
    "windows", [{"iou_crop": 1}, {"zoom_out": 1, "max_zoom_out": 2}, {"iou_crop": 1, "zoom_out": 1}]
)
def test_boxes_stay_on_their_object(windows):
    """A white rectangle on black is found again where its box says."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[30:90, 40:120] = 255
    boxes = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32)
    found = Annotations(boxes=boxes, labels=np.array([2]), ignored=np.array([False]))
    augmenter = Augmenter(AugmentationConfig(**PLAIN | windows))
    seen_boxes = []
    for seed in range(30):
        result, moved = augmenter([(image, found)], resolution=128, seed=seed)
        assert moved.labels.tolist() == [2]
        assert moved.ignored.tolist() == [False]
        rows, columns = np.nonzero(result[..., 0] > 190)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 128
        np.testing.assert_allclose(moved.boxes[0], seen, atol=1.6 / 128)
        seen_boxes.append(tuple(seen))
    assert len(set(seen_boxes)) > 15


def test_a_crop_takes_its_pixels_from_the_original():
    """A fine grid of lines, which shrinking the whole image loses, shows in the crops of it."""
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, ::4] = 255
    augmenter = Augmenter(AugmentationConfig(**PLAIN | {"iou_crop": 1}))
    results = [augmenter([(image, Annotations.none())], resolution=64, seed=seed)[0] for seed in range(20)]
    assert np.ptp(stretch(image, (64, 64))) == 0
    assert np.median([np.ptp(result) for result in results]) > 200


def test_a_canvas_without_a_crop_is_grey_around_the_image():
    image = np.zeros((60, 60, 3), np.uint8)
    config = AugmentationConfig(**PLAIN | {"zoom_out": 1, "max_zoom_out": 4})
    grey = [
        (Augmenter(config)([(image, Annotations.none())], resolution=64, seed=seed)[0] == MID_GREY).all(axis=-1).mean()
        for seed in range(40)
    ]
    assert max(grey) > 0.85  # 15/16 at a factor of 4
    assert min(grey) < 0.4


def test_crowds_are_no_objects_to_crop_by():
    """A crowd region in the corner does not hold the crops; it stays ignored in those that it is in."""
    image = np.zeros((100, 100, 3), np.uint8)
    boxes = np.array([[0, 0, 0.1, 0.1], [0.6, 0.6, 0.9, 0.9]], np.float32)
    found = Annotations(boxes=boxes, labels=np.array([0, 1]), ignored=np.array([True, False]))
    augmenter = Augmenter(AugmentationConfig(**PLAIN | {"iou_crop": 1}))
    kept = [augmenter([(image, found)], resolution=64, seed=seed)[1] for seed in range(40)]
    assert all(1 in one.labels[~one.ignored] for one in kept)
    assert all(one.ignored[one.labels == 0].all() for one in kept)
    assert {0 in one.labels for one in kept} == {True, False}
