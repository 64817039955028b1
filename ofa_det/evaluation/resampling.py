"""How sure is an AP, and is a difference of two more than chance? Bootstrap and permutations, both over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.evaluation.engines import CategoryMatches, category_matches

_RECALLS = np.linspace(0.0, 1.0, 101)
_TINY = np.spacing(1)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference of AP, as a fraction, and what it may be.

    Args:
        difference: on the images as they are; None where AP is undefined.
        low, high: that the difference of so many resamples lies between.
        standard_error: of the difference.
    """

    difference: float | None
    low: float | None
    high: float | None
    standard_error: float | None


def average_precisions(
    matches: Sequence[CategoryMatches], weights: Sequence[NDArray[np.float64]], image_weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AP of each category with images, or detections, that count more than once or not at all.

    An image of weight 2 counts as two equal images would.

    Args:
        matches: of C categories.
        weights: (N,) of the detections of each category.
        image_weights: (I,) of the objects on each image.

    Returns:
        (C,) AP as a fraction; NaN of a category without objects.
    """
    return np.array(
        [_ap(category, weight, image_weights) for category, weight in zip(matches, weights, strict=True)], np.float64
    )


def _ap(category: CategoryMatches, weights: NDArray[np.float64], image_weights: NDArray[np.float64]) -> float:
    objects = float((category.objects * image_weights).sum())
    if objects == 0:
        return float("nan")
    counted = weights > 0
    found, ignored, weight = category.found[:, counted], category.ignored[:, counted], weights[counted]
    hits = np.cumsum(found * weight, axis=1)
    misses = np.cumsum((~found & ~ignored) * weight, axis=1)
    precision = hits / (hits + misses + _TINY)
    # The best precision at this recall or a higher one.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.concatenate([precision, np.zeros((len(precision), 1))], axis=1)
    positions = np.array([np.searchsorted(row, _RECALLS) for row in hits / objects])
    return float(np.take_along_axis(precision, positions, axis=1).mean())


def mean_ap(aps: NDArray[np.float64]) -> float:
    """Over the categories that have one; NaN if none has."""
    defined = aps[~np.isnan(aps)]
    return float(defined.mean()) if len(defined) else float("nan")


def resampled_ap(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], *, resamples: int, seed: int = 0
) -> NDArray[np.float64]:
    """AP of the images as they are, then of so many draws of as many images with replacement.

    The draws follow from the seed and the number of images, so two detectors are compared on the same draws: the spread
    of the difference is less than that of either.

    Args:
        ground_truth: a COCO dictionary, as of `coco_metrics`.
        results: detections in COCO result format.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        (1 + resamples,) AP as fractions. Of a draw without any object it is not a number.
    """
    matches = category_matches(ground_truth, results)
    images = len(ground_truth["images"])
    return np.array([_mean_ap_of(matches, weights) for weights in _image_weights(images, resamples, seed)])


def _image_weights(images: int, resamples: int, seed: int) -> list[NDArray[np.float64]]:
    """How often each image counts: once, then as it is drawn."""
    rng = np.random.default_rng(seed)
    share = np.full(images, 1 / images)
    return [np.ones(images), *(rng.multinomial(images, share).astype(np.float64) for _ in range(resamples))]


def _mean_ap_of(matches: Sequence[CategoryMatches], weights: NDArray[np.float64]) -> float:
    return mean_ap(average_precisions(matches, [weights[category.images] for category in matches], weights))


def bootstrap(
    first: Sequence[CategoryMatches],
    second: Sequence[CategoryMatches],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[Interval, tuple[Interval, ...]]:
    """Difference of AP, second minus first, with what it might have been on other images of the same kind.

    Both detectors see the same resampled images, so that images that are hard for both do not widen the interval.

    Args:
        first: matches of one detector, by category.
        second: matches of the other, of the same categories and images.
        resamples: number of data sets drawn, with replacement, from the images.
        confidence: share of them that the interval holds, between 0 and 1.
        seed: of the draws.

    Returns:
        The difference of AP, and that of each category.
    """
    weights = _image_weights(len(first[0].objects), resamples, seed)
    columns = np.array([_differences(first, second, weight) for weight in weights]).T
    intervals = [_interval(column[0], column[1:], confidence) for column in columns]
    return intervals[0], tuple(intervals[1:])


def _differences(
    first: Sequence[CategoryMatches], second: Sequence[CategoryMatches], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(1 + C,), second minus first: AP, and that of each category."""
    one, other = (average_precisions(side, [weights[c.images] for c in side], weights) for side in (first, second))
    return np.concatenate([[mean_ap(other) - mean_ap(one)], other - one])


def _interval(observed: float, drawn: NDArray[np.float64], confidence: float) -> Interval:
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(observed) or len(drawn) < 2:
        return Interval(difference=None, low=None, high=None, standard_error=None)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(
        difference=float(observed), low=float(low), high=float(high), standard_error=float(drawn.std(ddof=1))
    )


def permutation_p(
    first: Sequence[CategoryMatches], second: Sequence[CategoryMatches], *, permutations: int, seed: int
) -> float:
    """How often chance alone gives a difference of AP as large, either way: the paired permutation test.

    If the detectors were equally good, it would not matter which of them had looked at an image: their detections of
    each image change sides, or not, by the toss of a coin.

    Args:
        first: matches of one detector, by category.
        second: matches of the other, of the same categories and images.
        permutations: number of tosses of all images.
        seed: of the tosses.

    Returns:
        The p value, at least 1 / (permutations + 1).
    """
    images = len(first[0].objects)
    rng = np.random.default_rng(seed)
    joined, sides = zip(*(_joined(*pair) for pair in zip(first, second, strict=True)), strict=True)
    ones = np.ones(images)

    def difference(swapped: NDArray[np.bool_]) -> float:
        taken = [side ^ swapped[c.images] for c, side in zip(joined, sides, strict=True)]
        second_aps = average_precisions(joined, [side.astype(np.float64) for side in taken], ones)
        first_aps = average_precisions(joined, [(~side).astype(np.float64) for side in taken], ones)
        return abs(mean_ap(second_aps) - mean_ap(first_aps))

    # What is as large but for rounding is as large.
    observed = difference(np.zeros(images, np.bool_)) - 1e-12
    as_large = sum(difference(rng.random(images) < 0.5) >= observed for _ in range(permutations))
    return (1 + as_large) / (1 + permutations)


def _joined(first: CategoryMatches, second: CategoryMatches) -> tuple[CategoryMatches, NDArray[np.bool_]]:
    """The detections of both, and which of them are the second's."""
    scores = np.concatenate([first.scores, second.scores])
    order = np.argsort(-scores, kind="stable")
    joined = CategoryMatches(
        category_id=first.category_id,
        scores=scores[order],
        images=np.concatenate([first.images, second.images])[order],
        found=np.concatenate([first.found, second.found], axis=1)[:, order],
        ignored=np.concatenate([first.ignored, second.ignored], axis=1)[:, order],
        objects=first.objects,
    )
    return joined, order >= len(first.scores)
