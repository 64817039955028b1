"""What a training run draws: which images, varied with which seed, at which resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Phase = Literal["main", "closing"]
"""Of training: the closing phase has no mosaic, so that training ends on images as they are (YOLOX, section 2.1)."""

_MOSAIC_STREAM = 1  # Tells these choices from what else is made of a draw's seed.
_REPEAT_STREAM = 1  # Tells an epoch's repeats from its order.


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What one training sample is made of.

    Args:
        indices: positions in the data set: one image, or the four of a mosaic, in reading order.
        seed: of its augmentation.
        resolution: side of the square result, in pixels.
        phase: of training.
    """

    indices: tuple[int, ...]
    seed: int
    resolution: int
    phase: Phase = "main"

    def __post_init__(self) -> None:
        if len(self.indices) not in (1, 4):
            raise ValueError(f"expected one image or the four of a mosaic, found {len(self.indices)}")


class TrainingStream:
    """The endless stream of draws of a seed; a draw follows from its number alone.

    An epoch has every image once, in an order of its own, or, with factors, on average as often as its factor says: the
    factor rounded up or down anew in each epoch, and never to 0.

    Args:
        seed: of the run; not negative.
        num_images: of the data set.
        mosaic: probability of a mosaic in the main phase. Three other images join the first, each as likely as its
            factor says and no image twice; of a data set of fewer than four images, any three.
        repeat_factors: (num_images,) at least 1; by default 1 for all.

    Attributes:
        epoch_length: draws in an epoch: the sum of the factors, rounded up.
    """

    def __init__(
        self, seed: int, *, num_images: int, mosaic: float = 0.0, repeat_factors: NDArray[np.float64] | None = None
    ) -> None:
        if repeat_factors is not None and (len(repeat_factors) != num_images or repeat_factors.min() < 1):
            raise ValueError(f"expected {num_images} repeat factors of at least 1, found {repeat_factors!r:.60}")
        self._seed = seed
        self._num_images = num_images
        self._mosaic = mosaic
        self._factors = repeat_factors if repeat_factors is not None and repeat_factors.max() > 1 else None
        self._cumulative = None if self._factors is None else np.cumsum(self._factors)
        # The allowance is for the rounding of a sum that should be whole.
        self.epoch_length = num_images if self._factors is None else math.ceil(self._factors.sum() - 1e-6)
        self._order = lru_cache(maxsize=2)(self._order_of)  # A batch may span two epochs.

    def draw(self, number: int, *, resolution: int, phase: Phase = "main") -> Draw:
        """The draw of a given number, from 0.

        Args:
            number: of the draw in the run.
            resolution: side of the square result, in pixels.
            phase: of training.
        """
        epoch, position = divmod(number, self.epoch_length)
        indices: tuple[int, ...] = (int(self._order(epoch)[position]),)
        augmentation_seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1, np.uint64)[0])
        if self._mosaic > 0 and phase != "closing":
            rng = np.random.default_rng((augmentation_seed, _MOSAIC_STREAM))
            if rng.random() < self._mosaic:
                indices = self._joined_by_three(indices[0], rng)
        return Draw(indices=indices, seed=augmentation_seed, resolution=resolution, phase=phase)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        """(epoch_length,) positions in the data set."""
        if self._factors is None:
            return np.random.default_rng((self._seed, epoch)).permutation(self._num_images)
        # Systematic sampling: along the images in a random order, every whole number that the sum of their factors
        # passes is a draw. So each factor is rounded up with the probability of its fraction, and their sum is kept.
        rng = np.random.default_rng((self._seed, epoch, _REPEAT_STREAM))
        images = rng.permutation(self._num_images)
        sums = np.cumsum(self._factors[images])
        sums *= self.epoch_length / sums[-1]
        passed = np.floor(sums + rng.random()).astype(np.int64)
        passed[-1] = self.epoch_length
        return rng.permutation(np.repeat(images, np.diff(passed, prepend=0)))

    def _joined_by_three(self, first: int, rng: np.random.Generator) -> tuple[int, ...]:
        if self._num_images < 4:
            return (first, *rng.integers(self._num_images, size=3).tolist())
        found = [first]
        while len(found) < 4:
            if self._cumulative is None:
                image = int(rng.integers(self._num_images))
            else:
                image = int(np.searchsorted(self._cumulative[:-1], rng.random() * self._cumulative[-1], side="right"))
            if image not in found:
                found.append(image)
        return tuple(found)
