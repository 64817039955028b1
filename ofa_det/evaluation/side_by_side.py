"""One detector on several images at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from ofa_det.detection.detections import Detections, Predictor


class SideBySide:
    """Equal predictors, each on one image at a time, in threads; the runtimes of files let go of Python's lock.

    Detections are those of a single one, in the same order.

    Args:
        predictors: of one file; at least one.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        self._free: SimpleQueue[Predictor] = SimpleQueue()
        for predictor in predictors:
            self._free.put(predictor)
        self._count = len(predictors)
        self._input_size = predictors[0].input_size

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        return self._input_size

    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Detects objects.

        Args:
            images: (B, H, W, 3) RGB, stretched to `input_size`.

        Returns:
            B detections.

        Raises:
            ValueError: images of another size or type.
        """
        return list(self.predict_all([images]))

    def predict_all(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[Detections]:
        """Yields the detections of every image, in order; the next images are read while these are worked on.

        Args:
            batches: (B, H, W, 3) RGB each, stretched to `input_size`.

        Raises:
            ValueError: images of another size or type.
        """
        waiting: deque[Future[Detections]] = deque()
        with ThreadPoolExecutor(self._count) as pool:
            try:
                for images in batches:
                    for position in range(len(images)):
                        waiting.append(pool.submit(self._predict_one, images[position : position + 1]))
                        # Enough that none waits for the reader, few enough to keep little in memory.
                        if len(waiting) > 2 * self._count:
                            yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _predict_one(self, images: NDArray[np.uint8]) -> Detections:
        predictor = self._free.get()
        try:
            (detections,) = predictor.predict(images)
        finally:
            self._free.put(predictor)
        return detections


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
