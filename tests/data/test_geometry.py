"""Where a sample's pixels come from, told without making it."""

from collections import Counter

import numpy as np
import pytest

from ofa_det.data.annotations import Annotations
from ofa_det.data.augmentation import Augmenter, Geometry, cut_out
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.images import MID_GREY, stretch

NO_COLOURS = {"colour_jitter": 0.0, "hue_jitter": 0.0}
WINDOWS = {
    "zoom": {"zoom": 0.8, "min_magnification": 0.4, "max_magnification": 2.5},
    "ssd": {"iou_crop": 0.6, "zoom_out": 0.4},
    "none": {"zoom": 0.0},
}


def annotations(seed: int) -> Annotations:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (seed % 4, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], axis=1).astype(np.float32)
    return Annotations(boxes=boxes, labels=np.arange(len(boxes)), ignored=rng.random(len(boxes)) < 0.3)


@pytest.mark.parametrize("windows", WINDOWS)
def test_window_and_flips_are_those_of_the_sample(windows: str) -> None:
    """The sample is the stretched and flipped window bit for bit, whatever the resolution and the colours."""
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    config = AugmentationConfig(vertical_flip=0.5, **WINDOWS[windows], **NO_COLOURS)
    plain, coloured = Augmenter(config), Augmenter(AugmentationConfig(vertical_flip=0.5, **WINDOWS[windows]))
    seen = set()
    for seed in range(60):
        found = annotations(seed)
        geometry = coloured.geometry((60, 90), found, seed=seed + 2**63)
        resolution = 24 + seed % 3
        expected = stretch(cut_out(image, geometry.window), (resolution, resolution))
        expected = expected[:: -1 if geometry.vertical_flip else 1, :: -1 if geometry.horizontal_flip else 1]
        result, _ = plain([(image, found)], resolution=resolution, seed=seed + 2**63)
        assert np.array_equal(result, expected)
        seen.add(geometry)
    assert {geometry.horizontal_flip for geometry in seen} == {True, False}
    assert {geometry.vertical_flip for geometry in seen} == {True, False}
    assert len({geometry.window for geometry in seen}) == 1 if windows == "none" else len(seen) > 40


def test_window_and_flips_are_drawn_apart() -> None:
    """Of 800 samples each of the eight combinations has about its share."""
    augmenter = Augmenter(AugmentationConfig(zoom=0.5, horizontal_flip=0.5, vertical_flip=0.5))
    found = Counter()
    for seed in range(800):
        geometry = augmenter.geometry((60, 90), Annotations.none(), seed=seed)
        found[geometry.window == (0, 0, 90, 60), geometry.horizontal_flip, geometry.vertical_flip] += 1
    assert len(found) == 8
    assert all(70 <= count <= 130 for count in found.values())


def test_what_lies_beyond_the_image_is_grey() -> None:
    image = np.full((4, 6, 3), 9, np.uint8)
    assert np.array_equal(cut_out(image, (1, 1, 3, 4)), np.full((3, 2, 3), 9))
    part = cut_out(image, (-1, 2, 7, 6))
    assert part.shape == (4, 8, 3)
    assert (part[:2, 1:7] == 9).all()
    assert (part[2:] == MID_GREY).all()
    assert (part[:, [0, 7]] == MID_GREY).all()


def test_boxes_are_flipped_with_the_window() -> None:
    boxes = np.array([[0.1, 0.2, 0.5, 0.9]], np.float32)
    for horizontal, vertical, expected in (
        (False, False, [0.1, 0.2, 0.5, 0.9]),
        (True, False, [0.5, 0.2, 0.9, 0.9]),
        (False, True, [0.1, 0.1, 0.5, 0.8]),
    ):
        geometry = Geometry(window=(0, 0, 9, 9), horizontal_flip=horizontal, vertical_flip=vertical)
        assert geometry.flipped(boxes)[0] == pytest.approx(expected)
    assert boxes[0] == pytest.approx([0.1, 0.2, 0.5, 0.9])
