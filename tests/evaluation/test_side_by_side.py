"""Several images at a time: the detections of one at a time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ofa_det.detection.detections import Detections
from ofa_det.evaluation.side_by_side import SideBySide


class SlowPredictor:
    """Says which image it saw, later for early ones; refuses to be used by two threads at once."""

    input_size = (8, 8)

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self.threads: set[int] = set()

    def predict(self, images: np.ndarray) -> list[Detections]:
        assert self._busy.acquire(blocking=False)
        try:
            (value,) = (int(image[0, 0, 0]) for image in images)
            if value == 200:
                raise ValueError("expected another image")
            time.sleep(0.02 if value % 3 == 0 else 0.001)
            self.threads.add(threading.get_ident())
            return [Detections(boxes=np.zeros((1, 4)), scores=np.ones(1), category_ids=np.array([value]))]
        finally:
            self._busy.release()


def batches_of(*sizes: int) -> list[np.ndarray]:
    numbers = iter(range(200))
    return [np.stack([np.full((8, 8, 3), next(numbers), np.uint8) for _ in range(size)]) for size in sizes]


def test_images_keep_their_order_and_every_predictor_works() -> None:
    predictors = [SlowPredictor() for _ in range(3)]
    found = list(SideBySide(predictors).predict_all(batches_of(8, 8, 5)))
    assert [int(one.category_ids[0]) for one in found] == list(range(21))
    assert all(predictor.threads for predictor in predictors)


def test_it_reads_no_further_ahead_than_it_works() -> None:
    read: list[int] = []

    def reading():
        for batch in batches_of(*[1] * 40):
            read.append(len(batch))
            yield batch

    next(SideBySide([SlowPredictor(), SlowPredictor()]).predict_all(reading()))
    assert len(read) == 2 * 2 + 1


def test_an_error_of_one_image_is_the_error_of_all() -> None:
    side_by_side = SideBySide([SlowPredictor(), SlowPredictor()])
    images = np.full((3, 8, 8, 3), 7, np.uint8)
    images[1] = 200
    with pytest.raises(ValueError, match="expected another image"):
        side_by_side.predict(images)
    assert len(side_by_side.predict(images[:1])) == 1  # It can be used again.
