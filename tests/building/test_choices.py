"""Choices of a build on figures that are worked out by hand."""

import math

import numpy as np
import pytest

from ofa_det.building.choices import (
    FEWEST_IMAGES,
    FEWEST_SUBNETS,
    MOST_SUBNETS,
    Appearance,
    appearance,
    candidate_resolutions,
    choose_resolutions,
    detector_images,
    file_seconds,
    most_images,
    spend,
    suiting_recipe,
    whole_network,
)


def test_appearance_measures_the_spread_of_sizes_within_a_class_and_the_shape_in_pixels():
    # Two classes, each of one size though the two differ; images twice as wide as high, boxes square in pixels.
    small, large = [0.0, 0.0, 0.05, 0.1], [0.0, 0.0, 0.2, 0.4]
    boxes = np.array([small, small, large, large], np.float32)
    seen = appearance(boxes, np.array([0, 0, 1, 1]), np.full((4, 2), [200, 400]))
    assert seen.objects == 4
    assert seen.size_spread == pytest.approx(0, abs=1e-6)
    assert seen.log_aspect == pytest.approx(0, abs=1e-6)
    mixed = appearance(boxes, np.zeros(4, int), np.full((4, 2), [100, 100]))
    assert mixed.size_spread == pytest.approx(math.log(4) / 2, abs=1e-6)  # Sides 1 and 4, two of each.
    assert mixed.log_aspect == pytest.approx(math.log(0.5), abs=1e-6)


@pytest.mark.parametrize(
    ("seen", "chosen", "why"),
    [
        (Appearance(objects=3941, size_spread=0.19, log_aspect=0.04), "microscope", "one distance"),
        (Appearance(objects=2383, size_spread=0.84, log_aspect=-0.11), "general", "near and far"),
        (Appearance(objects=8199, size_spread=0.20, log_aspect=-0.52), "general", "with an up"),
        (Appearance(objects=99, size_spread=0.19, log_aspect=0.04), "general", "99 objects are too few"),
    ],
)
def test_the_microscope_recipe_needs_objects_of_one_distance_and_without_an_up(seen, chosen, why):
    name, reason = suiting_recipe(seen)
    assert name == chosen
    assert why in reason


SMALLEST = {128: 12.0, 160: 18.0, 192: 26.0, 224: 34.6, 256: 44.9, 288: 56.6, 320: 69.6}
LARGEST = {128: 25.0, 160: 39.0, 192: 55.0, 224: 74.5, 256: 96.8, 288: 122.2, 320: 150.5}


@pytest.mark.parametrize(
    ("caps", "kept"),
    [
        ((40.0, 80.0), (224, 256, 288, 320)),  # 7/8 of 80 is 70, of 40 is 35.
        ((40.0,), (224,)),
        ((60.0,), (224, 256)),  # 52.5: 288 px leave too little to choose.
        ((25.0,), (160,)),  # No stated one below 21.9; the greatest smaller one joins.
        ((25.0, 80.0), (160, 224, 256, 288, 320)),
        ((12.5,), (128,)),  # Only just: nothing to choose, but it keeps the cap.
        ((160.0,), (256, 288, 320)),  # The whole network at 224 px takes less than half.
        ((500.0,), (320,)),  # However slow the phone may be, something trains.
    ],
)
def test_resolutions_are_those_that_leave_a_cap_something_to_choose(caps, kept):
    chosen = choose_resolutions(
        tuple(SMALLEST), stated=(224, 256, 288, 320), smallest_ms=SMALLEST, largest_ms=LARGEST, caps_ms=caps
    )
    assert chosen == kept


def test_a_cap_below_everything_is_refused_before_anything_trains():
    with pytest.raises(ValueError, match=r"at least 12\.0, .* at 128 px, found 9; raise it"):
        choose_resolutions(
            tuple(SMALLEST), stated=(224,), smallest_ms=SMALLEST, largest_ms=LARGEST, caps_ms=(9.0, 80.0)
        )


def test_smaller_resolutions_are_candidates(tiny_space):
    assert candidate_resolutions(tiny_space) == (64, 96)  # Already below the least.


def test_the_whole_network_is_the_largest_at_the_greatest_resolution_that_keeps_the_cap(tiny_space):
    bounds = {tiny_space.largest(64): 10.0, tiny_space.largest(96): 20.0}
    assert whole_network(tiny_space, bounds.__getitem__, 25.0) == (tiny_space.largest(96), 20.0)
    assert whole_network(tiny_space, bounds.__getitem__, 15.0) == (tiny_space.largest(64), 10.0)
    assert whole_network(tiny_space, bounds.__getitem__, 5.0) is None


def test_time_becomes_images_by_the_speed_measured():
    # 4,500 s less two files of 100 s are 4,300: 40 % for the supernet at 5 images/s, 10 % for the search, of
    # which a subnet takes 108 images at 30 a second.
    found = spend(4_500, speed=5.0, num_caps=2, training_images=292, scored_images=108, file_s=100.0)
    assert found.supernet_images == 8_600
    assert found.supernet_s == pytest.approx(1_720)
    assert found.search_subnets == int(430 / 3.6) == 119
    assert found.search_s == pytest.approx(119 * 3.6)
    # What is left, 2,350 s with both files, at 20 and 30 images/s: 2,150 / (1/20 + 1/30).
    assert detector_images(2_350, speeds=[20.0, 30.0], training_images=292, file_s=100.0) == 23_360  # 80 epochs.
    assert detector_images(2_350, speeds=[20.0, 30.0], training_images=1_000, file_s=100.0) in (25_799, 25_800)


def test_time_does_not_run_out_nor_over():
    rushed = spend(10, speed=5.0, num_caps=2, training_images=292, scored_images=108, file_s=100.0)
    assert (rushed.supernet_images, rushed.search_subnets) == (FEWEST_IMAGES, FEWEST_SUBNETS)
    assert detector_images(-50, speeds=[20.0], training_images=292, file_s=100.0) == FEWEST_IMAGES
    long = spend(1e6, speed=5.0, num_caps=1, training_images=292, scored_images=108, file_s=100.0)
    assert (long.supernet_images, long.search_subnets) == (80 * 292, MOST_SUBNETS)
    assert most_images(12) == 8_000
    assert file_seconds(72) == pytest.approx(60 + 0.3 * 72)
