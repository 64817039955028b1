"""What a build chooses by data, machine and caps; every choice is a function of figures, and says why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig

FIXED_SCALE_SPREAD = 0.4
"""Largest spread of the sizes of a class at which objects count as seen from one distance.

Of blood cells under a microscope it is 0.19, of the objects of COCO 0.84, of its persons 1.11; nothing lies between.
"""

UPRIGHT_LOG_ASPECT = 0.15
"""Largest mean of log(width / height) of objects that may stand any way up: 0.04 of blood cells, -0.5 of persons."""

FEWEST_OBJECTS = 100
LEAST_RESOLUTION_PX = 128
RESOLUTION_STEP_PX = 32
SERVING_SHARE = 7 / 8
"""Part of a cap that the smallest subnet of a resolution may take; above it nothing is left to choose there."""

WORTH_SHARE = 1 / 2
"""Part of the lowest cap that the largest subnet of a resolution has to take; below it a cap would be wasted."""

CLOSE_SHARE = 0.85
"""Part of a cap from which on the whole network needs no search."""

FILE_S, FILE_IMAGE_S = 60.0, 0.3
"""Time for one file behind its training, and for each validation image: export, three evaluations, the package's.

Generous for two cores; 80 images of the quickstart take 10 s in all.
"""

SUPERNET_SHARE, SEARCH_SHARE = 0.4, 0.1
"""Of the time behind the overhead; the rest goes to the detectors, whose images are what is left of AP to gain."""

EPOCHS = 80
FEWEST_MOST_IMAGES = 8_000
FEWEST_IMAGES = 320
FEWEST_SUBNETS, MOST_SUBNETS = 12, 120
FORWARD_SPEED = 6.0
"""Images that a search scores while a supernet trains on one: three subnets, forward and backward, and statistics."""

Estimate = Callable[[SubnetConfig], float]
"""The time that a subnet does not exceed, in ms."""


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """How objects look.

    Args:
        objects: that were looked at.
        size_spread: standard deviation of the logarithm of the side within a class, mean over the classes.
        log_aspect: mean of log(width / height), in pixels.
    """

    objects: int
    size_spread: float
    log_aspect: float


def appearance(
    boxes: NDArray[np.floating], labels: NDArray[np.integer], image_sizes: NDArray[np.integer]
) -> Appearance:
    """Measures how the objects of a data set look.

    Args:
        boxes: (M, 4) xyxy, normalised.
        labels: (M,) their classes.
        image_sizes: (M, 2) heights and widths of their images, in pixels.
    """
    extents = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6).astype(np.float64)
    log_sides = np.log(extents).sum(axis=1) / 2
    pixels = extents * image_sizes[:, ::-1]
    classes, counts = np.unique(labels, return_counts=True)
    spreads = [
        float(log_sides[labels == label].std()) for label, count in zip(classes, counts, strict=True) if count > 1
    ]
    return Appearance(
        objects=len(boxes),
        size_spread=float(np.mean(spreads)) if spreads else math.inf,
        log_aspect=float(np.log(pixels[:, 0] / pixels[:, 1]).mean()) if len(boxes) else 0.0,
    )


def suiting_recipe(seen: Appearance) -> tuple[Literal["general", "microscope"], str]:
    """Whose recipe suits, and why."""
    figures = f"sizes within a class spread by {seen.size_spread:.2f}, log width/height {seen.log_aspect:+.2f}"
    if seen.objects < FEWEST_OBJECTS:
        return "general", f"recipe general: {seen.objects} objects are too few to judge by"
    if seen.size_spread <= FIXED_SCALE_SPREAD and abs(seen.log_aspect) <= UPRIGHT_LOG_ASPECT:
        return "microscope", f"recipe microscope: objects of one distance and without an up ({figures})"
    return "general", f"recipe general: objects near and far, or with an up ({figures})"


def candidate_resolutions(space: SearchSpace) -> tuple[int, ...]:
    """Those of the space, and smaller ones for caps that it is too slow for."""
    smaller = range(LEAST_RESOLUTION_PX, min(space.resolutions), RESOLUTION_STEP_PX)
    return (*smaller, *space.resolutions)


def choose_resolutions(
    candidates: Sequence[int],
    *,
    stated: Sequence[int],
    smallest_ms: Mapping[int, float],
    largest_ms: Mapping[int, float],
    caps_ms: Sequence[float],
) -> tuple[int, ...]:
    """The resolutions to train.

    A stated one is kept where some cap leaves something to choose, and some network is worth the lowest cap. A smaller
    one joins only while a cap has no resolution yet.

    Args:
        candidates: ascending, in pixels.
        stated: those of them that the space has.
        smallest_ms: bound of the smallest subnet's latency at each.
        largest_ms: of the largest one's.
        caps_ms: of the build.

    Raises:
        ValueError: a cap that no candidate keeps.
    """
    least = min(smallest_ms[resolution] for resolution in candidates)
    if too_low := [cap for cap in caps_ms if least > cap]:
        raise ValueError(
            f"expected every latency_cap_ms to be at least {least:.1f}, what the smallest network takes at most, at "
            f"{candidates[0]} px, found {too_low[0]:g}; raise it, or take a recipe with a smaller space"
        )
    kept = [
        resolution
        for resolution in stated
        if any(smallest_ms[resolution] <= SERVING_SHARE * cap for cap in caps_ms)
        and largest_ms[resolution] >= WORTH_SHARE * min(caps_ms)
    ]
    for cap in caps_ms:
        for resolution in sorted(candidates, reverse=True):
            if any(smallest_ms[chosen] <= SERVING_SHARE * cap for chosen in kept):
                break
            if smallest_ms[resolution] <= SERVING_SHARE * cap and resolution not in kept:
                kept.append(resolution)
        if not any(smallest_ms[chosen] <= cap for chosen in kept):  # Close to what the space cannot go below.
            kept.append(candidates[0])
    return tuple(sorted(kept))


def whole_network(space: SearchSpace, at_most_ms: Estimate, cap_ms: float) -> tuple[SubnetConfig, float] | None:
    """The largest subnet at the greatest resolution that keeps a cap, and its bound; None if there is none."""
    for resolution in sorted(space.resolutions, reverse=True):
        subnet = space.largest(resolution)
        if (bound := at_most_ms(subnet)) <= cap_ms:
            return subnet, bound
    return None


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a build's time is spent on.

    Args:
        supernet_images: drawn by the supernet.
        search_subnets: scored.
        supernet_s, search_s: expected time of the training and of the search.
    """

    supernet_images: int
    search_subnets: int
    supernet_s: float
    search_s: float


def file_seconds(validation_images: int) -> float:
    """Time for one file behind its training."""
    return FILE_S + FILE_IMAGE_S * validation_images


def most_images(training_images: int) -> int:
    """Images that a training draws at most, however much time there is: so many epochs, but not too few."""
    return max(FEWEST_MOST_IMAGES, EPOCHS * training_images)


def spend(
    seconds: float, *, speed: float, num_caps: int, training_images: int, scored_images: int, file_s: float
) -> Spending:
    """Divides the time of an elastic build.

    Args:
        seconds: in all, from now on.
        speed: of the supernet's training, in images per second.
        num_caps: files to make.
        training_images: in the data set.
        scored_images: that each subnet of the search takes, for its batch norm and its AP.
        file_s: time for one file behind its training.
    """
    free = max(0.0, seconds - num_caps * file_s)
    images = _between(FEWEST_IMAGES, speed * SUPERNET_SHARE * free, most_images(training_images))
    subnet_s = scored_images / (FORWARD_SPEED * speed)
    subnets = _between(FEWEST_SUBNETS, SEARCH_SHARE * free / subnet_s, MOST_SUBNETS)
    return Spending(
        supernet_images=images,
        search_subnets=subnets,
        supernet_s=images / speed,
        search_s=subnets * subnet_s,
    )


def detector_images(seconds: float, *, speeds: Sequence[float], training_images: int, file_s: float) -> int:
    """Images that every detector draws, the same for all.

    Args:
        seconds: left for their trainings and what follows.
        speeds: of each training, in images per second.
        training_images: in the data set.
        file_s: time for one file behind its training.
    """
    free = max(0.0, seconds - len(speeds) * file_s)
    return _between(FEWEST_IMAGES, free / sum(1 / speed for speed in speeds), most_images(training_images))


def _between(least: int, value: float, most: int) -> int:
    return max(least, min(most, int(value)))
