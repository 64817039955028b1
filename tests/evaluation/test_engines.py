"""The fast engine against pycocotools, on data with everything that COCO's rules treat in their own way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ofa_det.evaluation.engines import ENGINES, box_metrics
from ofa_det.evaluation.metrics import coco_metrics

WIDTH, HEIGHT = 640, 480
BIG_ID = 2**53  # Floats do not tell it from the next.


def drawn_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes of every area range, partly outside of the image."""
    sides = np.exp(rng.uniform(np.log(3), np.log(400), (count, 2)))
    return np.concatenate([rng.random((count, 2)) * (WIDTH, HEIGHT), sides], axis=1).round(2)


def random_data(
    seed: int, *, images: int, objects: int, detections: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth with crowds, empty images and gaps in ids; detections near objects and anywhere, with ties."""
    rng = np.random.default_rng(seed)
    image_ids = rng.choice(10 * images + 5, images, replace=False) + rng.choice([0, BIG_ID])
    category_ids = rng.choice(90, rng.integers(1, 6), replace=False)
    boxes = drawn_boxes(rng, objects)
    owners, labels = rng.choice(image_ids, objects), rng.choice(category_ids, objects)
    shares, crowd = rng.uniform(0.3, 1, objects), rng.random(objects) < 0.1
    crowd[0] = False
    truth = {
        "images": [{"id": int(i), "width": WIDTH, "height": HEIGHT} for i in image_ids],
        "categories": [{"id": int(i), "name": f"name {i}"} for i in category_ids],
        "annotations": [
            {
                "id": number,
                "image_id": int(owner),
                "category_id": int(label),
                "bbox": box,
                "area": float(box[2] * box[3] * share),
                "iscrowd": int(is_crowd),
                "ignore": int(number % 7 == 0),  # pycocotools goes by iscrowd alone.
            }
            for number, (owner, label, box, share, is_crowd) in enumerate(
                zip(owners, labels, boxes.tolist(), shares, crowd, strict=True), start=1
            )
        ],
    }
    sources, near = rng.integers(0, objects, detections), rng.random(detections) < 0.6
    moved = boxes[sources] + rng.normal(0, 0.1, (detections, 4)) * boxes[sources][:, [2, 3, 2, 3]]
    found = np.where(near[:, None], moved, drawn_boxes(rng, detections)).round(3)
    found[:, 2:] = np.abs(found[:, 2:])
    on = np.where(near, owners[sources], rng.choice(image_ids, detections))
    unknown = 91  # A detector may know categories that the data set has not.
    kinds = np.where(near, labels[sources], rng.choice([*category_ids, unknown], detections))
    scores = rng.random(detections).round(int(rng.choice([1, 2, 6])))
    results = [
        {"image_id": int(i), "category_id": int(k), "bbox": box, "score": float(score)}
        for i, k, box, score in zip(on, kinds, found.tolist(), scores, strict=True)
    ]
    return truth, results


@pytest.mark.parametrize("seed", range(12))
def test_both_engines_give_the_same_numbers_to_the_last_digit(seed: int) -> None:
    sizes = np.random.default_rng(seed).integers((1, 1, 0), (30, 80, 600)).tolist()
    truth, results = random_data(seed, images=sizes[0], objects=sizes[1], detections=sizes[2])
    fast, reference = (coco_metrics(truth, results, engine=engine).record for engine in ENGINES)
    assert fast == reference


def test_more_detections_than_are_counted_on_one_image() -> None:
    truth, results = random_data(0, images=1, objects=60, detections=900)
    fast, reference = (box_metrics(truth, results, engine) for engine in ENGINES)
    np.testing.assert_array_equal(fast.stats, reference.stats)
    np.testing.assert_array_equal(fast.precision, reference.precision)
    assert fast.stats[0] > 0


def test_no_engine_prints(capfd: pytest.CaptureFixture[str]) -> None:
    truth, results = random_data(1, images=4, objects=9, detections=50)
    for engine in ENGINES:
        box_metrics(truth, results, engine)
    assert capfd.readouterr() == ("", "")


def test_another_engine_is_refused() -> None:
    truth, results = random_data(1, images=4, objects=9, detections=50)
    with pytest.raises(ValueError, match="expected engine hotcoco or pycocotools, found 'coco'"):
        box_metrics(truth, results, "coco")  # type: ignore[arg-type]
