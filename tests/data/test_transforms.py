import numpy as np
import pytest

from ofa_det.data.annotations import Annotations
from ofa_det.data.images import MID_GREY, stretch
from ofa_det.data.transforms import AugmentationConfig, Augmenter

NOTHING = {"horizontal_flip": 0, "zoom": 0, "colour_jitter": 0, "hue_jitter": 0}
ZOOM_ONLY = NOTHING | {"zoom": 1}


def annotations(boxes, crowd=None) -> Annotations:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    crowd = np.zeros(len(boxes), np.bool_) if crowd is None else np.array(crowd)
    return Annotations(boxes=boxes, labels=np.arange(len(boxes)), crowd=crowd)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_without_augmentation_it_is_the_plain_stretch(image):
    found = annotations([[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1]], crowd=[True, False])
    result, boxes = Augmenter(AugmentationConfig(**NOTHING), 32)(image, found, seed=1)
    assert np.array_equal(result, stretch(image, (32, 32)))
    np.testing.assert_allclose(boxes.boxes, found.boxes, atol=1e-6)
    assert boxes.labels.tolist() == [0, 1]
    assert boxes.crowd.tolist() == [True, False]


def test_same_seed_same_sample(image):
    augmenter = Augmenter(AugmentationConfig(), 48)
    found = annotations([[0.1, 0.2, 0.5, 0.9]])
    first, again, other = (augmenter(image, found, seed) for seed in (2**63 + 5, 2**63 + 5, 6))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1].boxes, again[1].boxes)
    assert not np.array_equal(first[0], other[0])


def test_flips_turn_image_and_boxes(image):
    config = AugmentationConfig(**NOTHING | {"horizontal_flip": 1, "vertical_flip": 1})
    result, boxes = Augmenter(config, 32)(image, annotations([[0.1, 0.2, 0.5, 0.9]]), seed=0)
    assert np.array_equal(result, stretch(image, (32, 32))[::-1, ::-1])
    np.testing.assert_allclose(boxes.boxes, [[0.5, 0.1, 0.9, 0.8]], atol=1e-6)


@pytest.mark.parametrize("bounds", [(1.2, 3.0), (0.3, 0.9), (0.5, 2.0)])
def test_boxes_stay_on_their_object(bounds):
    """A white rectangle on black is found again where its box says, crowd box and all."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[30:90, 40:120] = 255
    low, high = bounds
    augmenter = Augmenter(AugmentationConfig(**ZOOM_ONLY | {"min_magnification": low, "max_magnification": high}), 128)
    found = annotations([[0.25, 0.25, 0.75, 0.75]] * 2, crowd=[False, True])
    for seed in range(30):
        result, boxes = augmenter(image, found, seed)
        assert boxes.crowd.tolist() == [False, True]
        rows, columns = np.nonzero(result[..., 0] > 190)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 128
        np.testing.assert_allclose(boxes.boxes[0], seen, atol=1.6 / 128)
        assert np.array_equal(boxes.boxes[0], boxes.boxes[1])


def test_zooming_out_pads_with_grey(image):
    config = AugmentationConfig(**ZOOM_ONLY | {"min_magnification": 0.5, "max_magnification": 0.5, "aspect_jitter": 1})
    result, boxes = Augmenter(config, 64)(image, annotations([[0, 0, 1, 1]]), seed=3)
    (x1, y1, x2, y2) = boxes.boxes[0]
    np.testing.assert_allclose([x2 - x1, y2 - y1], 0.5, atol=0.02)
    assert (result == MID_GREY).all(axis=-1).mean() > 0.7


def test_boxes_that_hardly_stay_are_dropped():
    """Of every box that is kept, at least 0.3 lies in the window, so it is at least so large as then remains."""
    image = np.zeros((100, 100, 3), np.uint8)
    config = AugmentationConfig(**ZOOM_ONLY | {"min_magnification": 2, "max_magnification": 2, "aspect_jitter": 1})
    grid = [[x / 5, y / 5, (x + 1) / 5, (y + 1) / 5] for x in range(5) for y in range(5)]
    for seed in range(20):
        _, boxes = Augmenter(config, 100)(image, annotations(grid), seed)
        assert 0 < len(boxes) < 25
        sizes = boxes.boxes[:, 2:] - boxes.boxes[:, :2]
        assert sizes.prod(axis=1).min() >= 0.3 * 0.4 * 0.4 - 1e-3
        assert boxes.boxes.min() >= 0
        assert boxes.boxes.max() <= 1


def test_boxes_below_a_pixel_are_dropped(image):
    thin = annotations([[0.5, 0.1, 0.51, 0.9], [0.1, 0.1, 0.9, 0.9]])
    _, boxes = Augmenter(AugmentationConfig(**NOTHING), 64)(image, thin, seed=0)
    assert boxes.labels.tolist() == [1]


def test_images_without_boxes_pass(image):
    result, boxes = Augmenter(AugmentationConfig(), 40)(image, Annotations.none(), seed=0)
    assert result.shape == (40, 40, 3)
    assert boxes.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizontal_flip": 1.5},
        {"zoom": -0.1},
        {"min_magnification": 2.0, "max_magnification": 1.0},
        {"aspect_jitter": 0.9},
        {"colour_jitter": 1.0},
        {"hue_jitter": 0.6},
    ],
)
def test_config_is_validated(wrong):
    with pytest.raises(ValueError, match="expected"):
        AugmentationConfig(**wrong)
