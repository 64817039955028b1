import logging
import multiprocessing

import numpy as np
import pytest

from ofa_det.data.image_cache import ImageCache, cached


class Reads:
    """Image i is 4 x (i + 1) px, filled with i; counts how often it is read."""

    def __init__(self) -> None:
        self.counts = [0, 0, 0]

    def __call__(self, index: int):
        self.counts[index] += 1
        if index == 2 and self.counts[2] == 1:
            raise ValueError("damaged")
        return np.full((4, index + 1, 3), index, np.uint8)


def test_an_image_is_read_once():
    reads = Reads()
    cache = ImageCache(reads, np.array([12, 24, 36]))
    for index in (1, 0, 1, 0, 1):
        image = cache(index)
        assert image.shape == (4, index + 1, 3)
        assert (image == index).all()
    assert reads.counts == [1, 1, 0]
    with pytest.raises(ValueError, match="read-only"):
        cache(1)[0] = 9


def test_what_fails_or_does_not_fit_its_slot_is_read_anew():
    reads = Reads()
    cache = ImageCache(reads, np.array([12, 23, 36]))
    with pytest.raises(ValueError, match="damaged"):
        cache(2)
    for _ in range(3):
        assert cache(1).shape == (4, 2, 3)
        assert cache(2).shape == (4, 3, 3)
    assert reads.counts == [0, 3, 2]


def test_forked_processes_fill_it_for_each_other():
    reads = Reads()
    cache = ImageCache(reads, np.array([12, 24, 36]))
    process = multiprocessing.get_context("fork").Process(target=cache, args=(1,))
    process.start()
    process.join()
    assert (cache(1) == 1).all()
    assert reads.counts == [0, 0, 0]


def test_a_data_set_that_does_not_fit_is_not_kept(caplog):
    reads = Reads()
    slots = np.array([3_000_000, 4_500_000, 1])
    with caplog.at_level(logging.WARNING):
        assert cached(reads, slots, max_bytes=0) is reads
        assert isinstance(cached(reads, slots, max_bytes=7_500_001), ImageCache)
        assert not caplog.records
        assert cached(reads, slots, max_bytes=7_000_000) is reads
    assert caplog.messages == ["no decoded image is kept: 3 images take cache_mb 8, found 7"]
