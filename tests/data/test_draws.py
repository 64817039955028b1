from dataclasses import replace

import pytest

from ofa_det.data.draws import Draw, draw


def draws(count, **changes) -> list[Draw]:
    return [draw(5, number, **{"num_images": 7, "resolution": 32} | changes) for number in range(count)]


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


def test_the_closing_phase_has_no_mosaic():
    closing = draws(50, mosaic=1.0, phase="closing")
    assert closing == [replace(d, phase="closing") for d in draws(50)]


def test_a_draw_of_two_images_is_refused():
    with pytest.raises(ValueError, match="expected one image or the four of a mosaic, found 2"):
        Draw(indices=(1, 2), seed=0, resolution=32)
