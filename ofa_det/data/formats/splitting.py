"""Divides images between training and validation so that every class is in both, in the same proportion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np


def stratified(classes: Sequence[Collection[int]], fraction: float, *, seed: int) -> list[bool]:
    """Which images are for validation.

    The rarest class is divided first, then the next, among what is not yet divided; images without any class are last,
    and make up the number. A simple form of the iterative stratification of Sechidis et al. (2011). A class of two
    images or more is in both parts, unless its images were taken for rarer ones.

    Args:
        classes: of each image, by id.
        fraction: of the images that are for validation, above 0 and below 1.
        seed: of the order in which images are taken; not negative.

    Returns:
        One value for each image.
    """
    rng = np.random.default_rng(seed)
    holders: dict[int, list[int]] = defaultdict(list)
    for image, found in enumerate(classes):
        for label in set(found):
            holders[label].append(image)
    chosen: dict[int, bool] = {}
    for label in sorted(holders, key=lambda label: (len(holders[label]), label)):
        _divide(holders[label], _share(len(holders[label]), fraction), chosen, rng)
    _divide(range(len(classes)), _share(len(classes), fraction), chosen, rng)
    return [chosen[image] for image in range(len(classes))]


def _divide(images: Sequence[int], wanted: int, chosen: dict[int, bool], rng: np.random.Generator) -> None:
    """Chooses among those of the images that are open, until `wanted` of all of them are chosen."""
    open_ = [image for image in images if image not in chosen]
    missing = wanted - sum(chosen.get(image, False) for image in images)
    taken = {open_[position] for position in rng.permutation(len(open_))[: max(0, missing)]}
    chosen.update((image, image in taken) for image in open_)


def _share(count: int, fraction: float) -> int:
    """At least one, and not all, where there are two or more."""
    return min(max(1, round(fraction * count)), count - 1)
