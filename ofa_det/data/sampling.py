"""How often a training image is drawn: more often than others if it shows what few images show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa_det.data.coco_dataset import CocoDataset


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How often training images are drawn.

    Args:
        repeat_threshold: share of the images below which a class counts as rare; images that show a rare class are
            repeated (LVIS, Gupta et al. 2019, which has 0.001); 0 draws every image once an epoch.
    """

    repeat_threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.repeat_threshold <= 1:
            raise ValueError(f"expected 0 <= repeat_threshold <= 1, found {self.repeat_threshold}")


def repeat_factors(dataset: CocoDataset, threshold: float) -> NDArray[np.float64]:
    """(N,) how often each image is drawn in an epoch, on average.

    A class c that a share f(c) of the images shows has the factor max(1, sqrt(threshold / f(c))), an image the largest
    of its classes', and 1 without boxes (LVIS, Gupta et al. 2019, repeat factor sampling). Crowd regions do not count.

    Args:
        dataset: the images.
        threshold: as in `SamplingConfig`.
    """
    objects = dataset.objects()
    shown = np.unique(np.stack([objects.images, objects.labels]), axis=1)  # Each class once an image.
    shares = np.bincount(shown[1], minlength=len(dataset.categories)) / len(dataset)
    with np.errstate(divide="ignore"):  # Of classes that no image shows, which are not looked up.
        of_class = np.maximum(1, np.sqrt(threshold / shares))
    factors = np.ones(len(dataset))
    np.maximum.at(factors, shown[0], of_class[shown[1]])
    return factors
