"""Prints how long both engines of AP take on the same detections, and whether their numbers are equal; one core."""

import argparse
import os
import time

os.environ["RAYON_NUM_THREADS"] = "1"  # Before hotcoco is loaded, which reads it once.

import numpy as np

from ofa_det.evaluation.engines import ENGINES, box_metrics

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--images", type=int, default=5_000, help="number of images (default 5000)")
parser.add_argument("--objects", type=int, default=36_000, help="annotated objects (default 36000)")
parser.add_argument("--detections", type=int, default=500_000, help="number of detections (default 500000)")
parser.add_argument("--categories", type=int, default=80, help="number of categories (default 80)")
parser.add_argument("--seed", type=int, default=0, help="of the boxes (default 0)")
options = parser.parse_args()

rng = np.random.default_rng(options.seed)
WIDTH, HEIGHT = 640, 480


def boxes(count: int) -> np.ndarray:
    """x, y, width, height of boxes of all sizes."""
    sides = np.exp(rng.uniform(np.log(4), np.log(400), (count, 2)))
    return np.concatenate([rng.random((count, 2)) * (WIDTH, HEIGHT), sides], axis=1)


objects = boxes(options.objects)
images = rng.integers(1, options.images + 1, options.objects)
labels = rng.integers(1, options.categories + 1, options.objects)
truth = {
    "images": [{"id": i + 1, "width": WIDTH, "height": HEIGHT} for i in range(options.images)],
    "categories": [{"id": i + 1, "name": f"category {i + 1}"} for i in range(options.categories)],
    "annotations": [
        {
            "id": number + 1,
            "image_id": int(images[number]),
            "category_id": int(labels[number]),
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(number % 86 == 0),
        }
        for number, box in enumerate(objects.tolist())
    ],
}
# Six of ten detections lie near an object and are of its category.
source = rng.integers(0, options.objects, options.detections)
near = rng.random(options.detections) < 0.6
found = np.where(
    near[:, None],
    objects[source] + rng.normal(0, 0.1, (options.detections, 4)) * objects[source][:, [2, 3, 2, 3]],
    boxes(options.detections),
)
found[:, 2:] = np.abs(found[:, 2:])
on = np.where(near, images[source], rng.integers(1, options.images + 1, options.detections))
of = np.where(near, labels[source], rng.integers(1, options.categories + 1, options.detections))
results = [
    {"image_id": image, "category_id": category, "bbox": box, "score": score}
    for image, category, box, score in zip(
        on.tolist(), of.tolist(), found.round(3).tolist(), rng.random(options.detections).round(6).tolist(), strict=True
    )
]

print(f"{options.images} images, {options.objects} objects, {options.detections} detections, seed {options.seed}\n")
print("| engine | s | CPU s | AP |\n|---|---|---|---|")
seconds, numbers = {}, {}
for engine in ENGINES:
    wall, processor = time.perf_counter(), time.process_time()
    numbers[engine] = box_metrics(truth, results, engine)
    seconds[engine] = time.process_time() - processor
    wall = time.perf_counter() - wall
    print(f"| {engine} | {wall:.2f} | {seconds[engine]:.2f} | {100 * numbers[engine].stats[0]:.4f} |", flush=True)
fast, reference = (numbers[engine] for engine in ENGINES)
equal = np.array_equal(fast.stats, reference.stats) and np.array_equal(fast.precision, reference.precision)
print(f"\n{seconds['pycocotools'] / seconds['hotcoco']:.0f} x in CPU time; numbers {'equal' if equal else 'DIFFERENT'}")
raise SystemExit(not equal)
