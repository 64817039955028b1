"""What a training run draws: which images, varied with which seed, at which resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Phase = Literal["main", "closing"]
"""Of training: the closing phase has no mosaic, so that training ends on images as they are (YOLOX, section 2.1)."""

_MOSAIC_STREAM = 1  # Tells these choices from what else is made of a draw's seed.


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


def draw(
    seed: int, number: int, *, num_images: int, resolution: int, phase: Phase = "main", mosaic: float = 0.0
) -> Draw:
    """The draw of a given number, out of the training stream of a seed.

    Its first image is `permutation(seed, number // num_images)[number % num_images]`, so that an epoch has every image
    once. Whether it is a mosaic, and which three images join the first, follows from its own seed.

    Args:
        seed: of the run; not negative.
        number: of the draw in the run, from 0.
        num_images: of the data set.
        resolution: side of the square result, in pixels.
        phase: of training.
        mosaic: probability of a mosaic in the main phase.
    """
    epoch, position = divmod(number, num_images)
    indices = (int(_permutation(seed, epoch, num_images)[position]),)
    augmentation_seed = int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])
    if mosaic > 0 and phase != "closing":
        rng = np.random.default_rng((augmentation_seed, _MOSAIC_STREAM))
        if rng.random() < mosaic:
            indices += tuple(rng.integers(num_images, size=3).tolist())
    return Draw(indices=indices, seed=augmentation_seed, resolution=resolution, phase=phase)


@lru_cache(maxsize=2)  # A batch may span two epochs.
def _permutation(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(length)
