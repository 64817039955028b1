"""Weighted AP against COCO's, and what bootstrap and permutations say of differences that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ofa_det.evaluation.engines import category_matches
from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.resampling import average_precisions, bootstrap, mean_ap, permutation_p, resampled_ap


def data_set(images: int, *, seed: int = 0) -> dict[str, Any]:
    """Two objects on each image, of categories 3 and 9, some crowds."""
    rng = np.random.default_rng(seed)
    annotations = [
        {
            "id": 2 * image + side + 1,
            "image_id": 10 * image,
            "category_id": (3, 9)[side],
            "bbox": [float(300 * side), 10.0, *rng.uniform(40, 200, 2).round(1).tolist()],
            "area": 1000.0,
            "iscrowd": int(image % 7 == 3 and side == 0),
        }
        for image in range(images)
        for side in (0, 1)
    ]
    return {
        "images": [{"id": 10 * image, "width": 640, "height": 480} for image in range(images)],
        "categories": [{"id": 3, "name": "cell"}, {"id": 9, "name": "plate"}, {"id": 12, "name": "absent"}],
        "annotations": annotations,
    }


def detections(truth: dict[str, Any], *, quality: float, seed: int) -> list[dict[str, Any]]:
    """Finds an object with this probability, well or less so, and as many things that are not there."""
    rng = np.random.default_rng(seed)
    results = []
    for entry in truth["annotations"]:
        for _ in range(2):
            x, y, width, height = entry["bbox"]
            hit = rng.random() < quality
            shift = rng.normal(0, 0.08) * width if hit else 250
            results.append(
                {
                    "image_id": entry["image_id"],
                    "category_id": entry["category_id"],
                    "bbox": [x + shift, y, width, height],
                    "score": round(float(rng.beta(4 if hit else 2, 3)), 6),
                }
            )
    return results


def repeated(truth: dict[str, Any], results: list[dict[str, Any]], counts: list[int]) -> Any:
    """COCO metrics of the data set with each image so many times."""
    images = sorted(entry["id"] for entry in truth["images"])
    new, found = {"categories": truth["categories"], "images": [], "annotations": []}, []
    for image_id, count in zip(images, counts, strict=True):
        for _ in range(count):
            number = len(new["images"]) + 1
            new["images"].append({"id": number, "width": 640, "height": 480})
            new["annotations"] += [
                {**entry, "image_id": number} for entry in truth["annotations"] if entry["image_id"] == image_id
            ]
            found += [{**entry, "image_id": number} for entry in results if entry["image_id"] == image_id]
    for number, entry in enumerate(new["annotations"], start=1):
        entry["id"] = number
    return coco_metrics(new, found).record


@pytest.mark.parametrize("seed", range(4))
def test_weighted_images_count_as_repeated_ones(seed: int) -> None:
    truth = data_set(12, seed=seed)
    results = detections(truth, quality=0.7, seed=seed)
    counts = np.ones(12, int) if seed == 0 else np.random.default_rng(seed).multinomial(12, np.full(12, 1 / 12))
    matches, weights = category_matches(truth, results), counts.astype(float)
    aps = average_precisions(matches, [weights[category.images] for category in matches], weights)
    wanted = repeated(truth, results, counts.tolist())
    assert [entry.AP for entry in wanted.classes] == [pytest.approx(aps[0]), pytest.approx(aps[1]), None]
    assert np.isnan(aps[2])
    assert mean_ap(aps) == pytest.approx(wanted.AP)


def test_a_better_detector_is_seen_to_be_better() -> None:
    truth = data_set(60)
    worse, better = (
        category_matches(truth, detections(truth, quality=quality, seed=seed)) for quality, seed in ((0.4, 1), (0.8, 2))
    )
    whole, classes = bootstrap(worse, better, resamples=200, confidence=0.95, seed=0)
    assert whole.difference is not None
    assert 0 < whole.low < whole.difference < whole.high < 1
    assert whole.standard_error == pytest.approx((whole.high - whole.low) / 3.92, rel=0.3)
    assert all(0 < entry.low < entry.difference < entry.high for entry in classes[:2])
    assert classes[2].difference is classes[2].low is classes[2].standard_error is None
    assert permutation_p(worse, better, permutations=199, seed=0) == 1 / 200
    back, _ = bootstrap(better, worse, resamples=200, confidence=0.95, seed=0)
    assert (back.difference, back.low) == (-whole.difference, pytest.approx(-whole.high))


def test_equals_are_not_told_apart() -> None:
    truth = data_set(30)
    same = category_matches(truth, detections(truth, quality=0.6, seed=1))
    other = category_matches(truth, detections(truth, quality=0.6, seed=2))
    whole, _ = bootstrap(same, same, resamples=50, confidence=0.95, seed=0)
    assert (whole.difference, whole.low, whole.high) == (0, 0, 0)
    assert permutation_p(same, same, permutations=50, seed=0) == 1
    assert permutation_p(same, other, permutations=99, seed=0) > 0.05
    whole, _ = bootstrap(same, other, resamples=100, confidence=0.95, seed=0)
    assert whole.low < 0 < whole.high


def test_p_is_even_where_nothing_differs() -> None:
    """Of pairs of equally good detectors, about a fifth have p < 0.2."""
    truth = data_set(20)
    found = [category_matches(truth, detections(truth, quality=0.6, seed=seed)) for seed in range(60)]
    values = [permutation_p(*pair, permutations=29, seed=0) for pair in zip(found[::2], found[1::2], strict=True)]
    assert 1 <= sum(value < 0.2 for value in values) <= 13


def test_a_detector_that_finds_nothing_has_ap_zero() -> None:
    truth = data_set(5)
    nothing = category_matches(truth, [])
    aps = average_precisions(nothing, [np.zeros(0)] * 3, np.ones(5))
    assert (aps[0], aps[1], np.isnan(aps[2])) == (0, 0, True)


def test_the_first_ap_is_that_of_the_images_and_a_draw_is_the_data_set_that_it_draws() -> None:
    truth = data_set(12)
    results = detections(truth, quality=0.7, seed=3)
    found = resampled_ap(truth, results, resamples=3, seed=5)
    assert found[0] == pytest.approx(coco_metrics(truth, results).ap, abs=1e-12)
    counts = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12))
    assert found[1] == pytest.approx(repeated(truth, results, counts.tolist()).AP)


def test_more_images_make_ap_surer_and_detectors_are_compared_on_the_same_draws() -> None:
    few, many = (
        resampled_ap(truth, detections(truth, quality=0.6, seed=1), resamples=60)[1:].std()
        for truth in (data_set(10), data_set(90))
    )
    assert many < 0.6 * few
    truth = data_set(30)
    results = detections(truth, quality=0.6, seed=1)
    worse = [{**result, "score": result["score"] * (0.9 if i % 7 else 1.0)} for i, result in enumerate(results)]
    first, second = (resampled_ap(truth, found, resamples=60) for found in (results, worse))
    assert (first - second)[1:].std() < 0.5 * first[1:].std()


def test_nothing_found_is_zero() -> None:
    assert resampled_ap(data_set(6), [], resamples=2)[0] == 0.0
