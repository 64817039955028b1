import numpy as np
import pytest

from ofa_det.data.annotations import Annotations
from ofa_det.data.augmentation import Augmenter
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.images import MID_GREY, stretch
from ofa_det.data.windows import MIN_VISIBILITY

NOTHING = {"horizontal_flip": 0, "zoom": 0, "colour_jitter": 0, "hue_jitter": 0}
ZOOM_ONLY = NOTHING | {"zoom": 1}
TWICE = ZOOM_ONLY | {"min_magnification": 2, "max_magnification": 2, "aspect_jitter": 1}
GRID = [[x / 5, y / 5, (x + 1) / 5, (y + 1) / 5] for x in range(5) for y in range(5)]


def annotations(boxes, ignored=None) -> Annotations:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    ignored = np.zeros(len(boxes), np.bool_) if ignored is None else np.array(ignored)
    return Annotations(boxes=boxes, labels=np.arange(len(boxes)), ignored=ignored)


def areas(boxes):
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_without_augmentation_it_is_the_plain_stretch(image):
    found = annotations([[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1]], ignored=[True, False])
    result, boxes = Augmenter(AugmentationConfig(**NOTHING))([(image, found)], resolution=32, seed=1)
    assert np.array_equal(result, stretch(image, (32, 32)))
    np.testing.assert_allclose(boxes.boxes, found.boxes, atol=1e-6)
    assert boxes.labels.tolist() == [0, 1]
    assert boxes.ignored.tolist() == [True, False]


def test_same_seed_same_sample(image):
    augmenter = Augmenter(AugmentationConfig())
    found = annotations([[0.1, 0.2, 0.5, 0.9]])
    for images in ([(image, found)], [(image, found)] * 4):
        first, again, other = (augmenter(images, resolution=48, seed=seed) for seed in (2**63 + 5, 2**63 + 5, 6))
        assert np.array_equal(first[0], again[0])
        assert np.array_equal(first[1].boxes, again[1].boxes)
        assert not np.array_equal(first[0], other[0])


def test_flips_turn_image_and_boxes(image):
    augmenter = Augmenter(AugmentationConfig(**NOTHING | {"horizontal_flip": 1, "vertical_flip": 1}))
    result, boxes = augmenter([(image, annotations([[0.1, 0.2, 0.5, 0.9]]))], resolution=32, seed=0)
    assert np.array_equal(result, stretch(image, (32, 32))[::-1, ::-1])
    np.testing.assert_allclose(boxes.boxes, [[0.5, 0.1, 0.9, 0.8]], atol=1e-6)


@pytest.mark.parametrize("bounds", [(1.2, 3.0), (0.3, 0.9), (0.5, 2.0)])
def test_boxes_stay_on_their_object(bounds):
    """A white rectangle on black is found again where its box says, ignored or not."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[30:90, 40:120] = 255
    low, high = bounds
    augmenter = Augmenter(AugmentationConfig(**ZOOM_ONLY | {"min_magnification": low, "max_magnification": high}))
    found = annotations([[0.25, 0.25, 0.75, 0.75]] * 2, ignored=[False, True])
    for seed in range(30):
        result, boxes = augmenter([(image, found)], resolution=128, seed=seed)
        assert boxes.ignored.tolist() == [False, True]
        rows, columns = np.nonzero(result[..., 0] > 190)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 128
        np.testing.assert_allclose(boxes.boxes[0], seen, atol=1.6 / 128)
        assert np.array_equal(boxes.boxes[0], boxes.boxes[1])


def test_zooming_out_pads_with_grey(image):
    config = AugmentationConfig(**ZOOM_ONLY | {"min_magnification": 0.5, "max_magnification": 0.5, "aspect_jitter": 1})
    result, boxes = Augmenter(config)([(image, annotations([[0, 0, 1, 1]]))], resolution=64, seed=3)
    (x1, y1, x2, y2) = boxes.boxes[0]
    np.testing.assert_allclose([x2 - x1, y2 - y1], 0.5, atol=0.02)
    assert (result == MID_GREY).all(axis=-1).mean() > 0.7


def test_fragments_are_ignored_and_nothing_that_is_cut_becomes_background():
    """Objects that tile the image still tile every window, but for slivers below a pixel."""
    augmenter = Augmenter(AugmentationConfig(**TWICE))
    image, threshold = np.zeros((100, 100, 3), np.uint8), MIN_VISIBILITY * 0.4 * 0.4
    fragments = 0
    for seed in range(20):
        _, boxes = augmenter([(image, annotations(GRID))], resolution=100, seed=seed)
        assert areas(boxes.boxes[~boxes.ignored]).min() >= threshold - 1e-3
        assert areas(boxes.boxes[boxes.ignored]).max(initial=0) <= threshold + 1e-3
        assert areas(boxes.boxes).sum() >= 1 - 4 / 100
        assert (np.diff(boxes.labels) > 0).all()
        assert boxes.boxes.min() >= 0
        assert boxes.boxes.max() <= 1
        fragments += boxes.ignored.sum()
    assert fragments > 20


def test_a_crowd_region_stays_however_little_of_it_is_left():
    config = AugmentationConfig(**TWICE | {"min_magnification": 4, "max_magnification": 4})
    found = annotations([[0, 0, 1, 1], *GRID], ignored=[True] + [False] * 25)
    for seed in range(5):
        _, boxes = Augmenter(config)([(np.zeros((100, 100, 3), np.uint8), found)], resolution=64, seed=seed)
        assert boxes.labels[0] == 0
        assert boxes.ignored[0]
        np.testing.assert_allclose(boxes.boxes[0], [0, 0, 1, 1], atol=1e-6)


def test_boxes_below_a_pixel_are_dropped(image):
    thin = annotations([[0.5, 0.1, 0.51, 0.9], [0.1, 0.1, 0.9, 0.9]])
    _, boxes = Augmenter(AugmentationConfig(**NOTHING))([(image, thin)], resolution=64, seed=0)
    assert boxes.labels.tolist() == [1]


def test_images_without_boxes_pass(image):
    for count in (1, 4):
        result, boxes = Augmenter(AugmentationConfig())([(image, Annotations.none())] * count, resolution=40, seed=0)
        assert result.shape == (40, 40, 3)
        assert boxes.boxes.shape == (0, 4)


@pytest.mark.parametrize("resolution", [32, 33])
def test_a_mosaic_is_four_stretched_images_in_reading_order(resolution):
    images = np.random.default_rng(1).integers(0, 256, (4, 40, 50, 3), dtype=np.uint8)
    found = annotations([[0, 0, 1, 1], [0.5, 0.25, 1, 0.75]], ignored=[False, True])
    augmenter = Augmenter(AugmentationConfig(**NOTHING))
    result, boxes = augmenter([(image, found) for image in images], resolution=resolution, seed=0)
    half = resolution // 2
    spans = [(slice(0, half), half), (slice(half, resolution), resolution - half)]
    tiles = [(rows, columns, height, width) for rows, height in spans for columns, width in spans]
    for image, (rows, columns, height, width), box in zip(images, tiles, boxes.boxes[::2], strict=True):
        assert np.array_equal(result[rows, columns], stretch(image, (height, width)))
        corners = np.array([columns.start, rows.start, columns.stop, rows.stop]) / resolution
        np.testing.assert_allclose(box, corners, atol=1e-6)
    np.testing.assert_allclose(
        boxes.boxes[7] * resolution,
        [half + tiles[3][3] / 2, half + tiles[3][2] / 4, resolution, half + tiles[3][2] * 3 / 4],
        atol=1e-4,
    )
    assert boxes.labels.tolist() == [0, 1] * 4
    assert boxes.ignored.tolist() == [False, True] * 4


def test_tiles_of_a_mosaic_are_varied_each_on_its_own():
    """White rectangles on black are found again where their boxes say, at a place of their own in each tile."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[30:90, 40:120] = 255
    whole = image, annotations([[0.25, 0.25, 0.75, 0.75]])
    result, boxes = Augmenter(AugmentationConfig(**ZOOM_ONLY))([whole] * 4, resolution=256, seed=2)
    places = set()
    for box, (top, left) in zip(boxes.boxes * 256, ((0, 0), (0, 128), (128, 0), (128, 128)), strict=True):
        rows, columns = np.nonzero(result[top : top + 128, left : left + 128, 0] > 190)
        seen = np.array([columns.min() + left, rows.min() + top, columns.max() + left + 1, rows.max() + top + 1])
        np.testing.assert_allclose(box, seen, atol=1.6)
        places.add(tuple(np.round(box - (left, top, left, top))))
    assert len(places) == 4


def test_the_largest_magnification_is_that_of_the_smallest_window():
    assert AugmentationConfig(zoom=0).largest_magnification == 1
    window = AugmentationConfig(max_magnification=2, aspect_jitter=1.44)
    assert window.largest_magnification == pytest.approx(2.4)
    assert AugmentationConfig(iou_crop=0.5).largest_magnification == pytest.approx(1 / 0.3)
    assert AugmentationConfig(min_magnification=0.2, max_magnification=0.5).largest_magnification == 1


def test_two_images_are_no_sample(image):
    with pytest.raises(ValueError, match="expected one image or the four of a mosaic, found 2"):
        Augmenter(AugmentationConfig())([(image, Annotations.none())] * 2, resolution=32, seed=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizontal_flip": 1.5},
        {"zoom": -0.1},
        {"mosaic": 2},
        {"iou_crop": -1},
        {"zoom_out": 1.1},
        {"max_zoom_out": 0.5},
        {"min_magnification": 2.0, "max_magnification": 1.0},
        {"aspect_jitter": 0.9},
        {"colour_jitter": 1.0},
        {"hue_jitter": 0.6},
    ],
)
def test_config_is_validated(wrong):
    with pytest.raises(ValueError, match="expected"):
        AugmentationConfig(**wrong)
