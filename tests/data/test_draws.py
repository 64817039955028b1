from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ofa_det.data.draws import Draw, TrainingStream


def draws(count, num_images=7, phase="main", **changes) -> list[Draw]:
    stream = TrainingStream(5, num_images=num_images, **changes)
    return [stream.draw(number, resolution=32, phase=phase) for number in range(count)]


def test_an_epoch_sees_every_image_once():
    found = draws(21)
    for epoch in range(3):
        assert sorted(d.indices[0] for d in found[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert len({d.seed for d in found}) == 21
    assert [d.indices for d in found[:7]] != [d.indices for d in found[7:14]]


def test_the_stream_is_the_same_in_every_version():
    """Else a run resumed after an update would not go on with the images it has not seen."""
    assert draws(2, num_images=100) == [
        Draw(indices=(29,), seed=12631478326263854183, resolution=32),
        Draw(indices=(49,), seed=17996766564426832300, resolution=32),
    ]


def test_a_mosaic_adds_images_and_changes_nothing_else():
    plain, mosaics = draws(400), draws(400, mosaic=0.3)
    assert [replace(d, indices=d.indices[:1]) for d in mosaics] == plain
    tiled = [d for d in mosaics if len(d.indices) == 4]
    assert 0.22 < len(tiled) / 400 < 0.38
    assert {index for d in tiled for index in d.indices[1:]} == set(range(7))
    assert mosaics == draws(400, mosaic=0.3)
    assert all(len(d.indices) == 4 for d in draws(50, mosaic=1.0))


def test_the_images_of_a_mosaic_are_four():
    for found in draws(200, num_images=4, mosaic=1.0):
        assert sorted(found.indices) == [0, 1, 2, 3]
    assert all(set(found.indices) <= {0, 1, 2} for found in draws(20, num_images=3, mosaic=1.0))


def test_images_are_repeated_as_often_as_their_factor_says():
    """A factor of 1.75 is 1 in a quarter of the epochs and 2 in the others; 8.25 draws make an epoch of 9."""
    factors = np.array([1, 1.75, 1, 2.5, 1, 1.0])
    stream = TrainingStream(5, num_images=6, repeat_factors=factors)
    assert stream.epoch_length == 9
    epochs = [
        [stream.draw(number, resolution=32).indices[0] for number in range(9 * epoch, 9 * epoch + 9)]
        for epoch in range(400)
    ]
    counts = np.array([np.bincount(epoch, minlength=6) for epoch in epochs])
    scaled = factors * 9 / 8.25
    assert (counts >= np.floor(scaled)).all()
    assert (counts <= np.ceil(scaled)).all()
    np.testing.assert_allclose(counts.mean(axis=0), scaled, atol=0.08)
    assert len(set(map(tuple, epochs))) == 400


def test_a_draw_with_repeats_follows_from_its_number():
    arguments = {"num_images": 50, "mosaic": 0.5, "repeat_factors": 1 + np.arange(50) / 20}
    forward = draws(400, **arguments)
    stream = TrainingStream(5, **arguments)
    assert [stream.draw(number, resolution=32) for number in reversed(range(400))] == forward[::-1]
    assert [replace(d, indices=d.indices[:1]) for d in forward] == draws(400, **arguments | {"mosaic": 0.0})


def test_factors_of_one_change_nothing():
    assert draws(40, mosaic=0.5, repeat_factors=np.ones(7)) == draws(40, mosaic=0.5)


def test_companions_of_a_mosaic_are_drawn_by_their_factors():
    factors = np.ones(40)
    factors[3] = 8
    joined = Counter(
        index for d in draws(2000, num_images=40, mosaic=1.0, repeat_factors=factors) for index in d.indices[1:]
    )
    others = sum(count for index, count in joined.items() if index != 3) / 39
    assert 5 < joined[3] / others < 8.5
    assert all(len(set(d.indices)) == 4 for d in draws(200, num_images=40, mosaic=1.0, repeat_factors=factors))


def test_factors_must_fit():
    for factors in (np.ones(6), np.full(7, 0.5)):
        with pytest.raises(ValueError, match="expected 7 repeat factors of at least 1"):
            TrainingStream(5, num_images=7, repeat_factors=factors)


def test_the_closing_phase_has_no_mosaic():
    closing = draws(50, mosaic=1.0, phase="closing")
    assert closing == [replace(d, phase="closing") for d in draws(50)]


def test_a_draw_of_two_images_is_refused():
    with pytest.raises(ValueError, match="expected one image or the four of a mosaic, found 2"):
        Draw(indices=(1, 2), seed=0, resolution=32)
