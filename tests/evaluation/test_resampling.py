import numpy as np
import pytest

from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.resampling import resampled_ap


def made(images: int, seed: int) -> tuple[dict, list]:
    """Two categories, a crowd, and detections of which some hit."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 5)):
            x, y, w, h = *rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)
            category = int(rng.integers(1, 3))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
            near = [x + rng.normal(0, 3), y + rng.normal(0, 3), w * rng.uniform(0.8, 1.2), h]
            for box in (near, [*rng.uniform(0, 60, 2), 20.0, 20.0]):
                score = float(rng.random())
                results.append({"image_id": image, "category_id": category, "bbox": box, "score": score})
    truth = {
        "images": [{"id": image, "width": 100, "height": 100} for image in range(1, images + 1)],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 9, "name": "absent"}],
        "annotations": annotations,
    }
    return truth, results


@pytest.mark.parametrize("seed", range(4))
def test_the_first_is_pycocotools_and_a_draw_is_the_data_set_that_it_draws(seed: int) -> None:
    truth, results = made(12, seed)
    found = resampled_ap(truth, results, resamples=3, seed=5)
    assert found[0] == pytest.approx(coco_metrics(truth, results).ap, abs=1e-12)
    drawn = np.random.default_rng(5).integers(0, 12, 12) + 1
    copies: dict = {"images": [], "annotations": [], "categories": truth["categories"]}
    detections = []
    for number, image in enumerate(drawn.tolist(), start=1):
        copies["images"].append({"id": number, "width": 100, "height": 100})
        of_image = [a for a in truth["annotations"] if a["image_id"] == image]
        copies["annotations"] += [
            {**a, "id": 1000 * number + i, "image_id": number} for i, a in enumerate(of_image, start=1)
        ]
        detections += [{**r, "image_id": number} for r in results if r["image_id"] == image]
    assert found[1] == pytest.approx(coco_metrics(copies, detections).ap, abs=2e-3)


def test_more_images_make_ap_surer_and_a_detector_is_compared_on_the_same_draws() -> None:
    few, many = (resampled_ap(*made(images, 0), resamples=60)[1:].std() for images in (10, 90))
    assert many < 0.6 * few
    truth, results = made(30, 0)
    worse = [{**result, "score": result["score"] * (0.9 if i % 7 else 1.0)} for i, result in enumerate(results)]
    first, second = (resampled_ap(truth, found, resamples=60) for found in (results, worse))
    assert (first - second)[1:].std() < 0.5 * first[1:].std()


def test_nothing_found_is_zero() -> None:
    truth, _ = made(6, 1)
    assert resampled_ap(truth, [], resamples=2)[0] == 0.0
