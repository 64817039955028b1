"""Prints how long a data set of COCO's size takes to open, and how many images a second one loader process delivers."""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from coco_sized import NUM_BOXES, NUM_IMAGES, write_coco_sized

from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.loading import training_loader
from ofa_det.data.splits import DataConfig, open_split, open_splits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data.root", dest="root", help="data set whose loading is timed; none by default")
parser.add_argument("--images", type=int, default=NUM_IMAGES, help="of the written data set; COCO's by default")
parser.add_argument("--boxes", type=int, default=NUM_BOXES, help="of the written data set; COCO's by default")
parser.add_argument("--resolution", type=int, default=320, help="of the loaded images, in pixels (default 320)")
parser.add_argument("--batches", type=int, default=40, help="of 16 images, to time the loading by (default 40)")
parser.add_argument("--cache_mb", type=int, default=4000, help="memory for the loading with a cache (default 4000)")
options = parser.parse_args()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Prints seconds of the wall and of the processor, and the process's greatest memory so far."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"| {name} | {wall:.1f} | {processor:.1f} | {peak_mb:.0f} |", flush=True)


def batches(dataset, num_steps, **changes):
    """A training stream of one worker process."""
    arguments = {"batch_size": 16, "first_step": 0, "seed": 0, "num_workers": 1, "augmentation": AugmentationConfig()}
    resolution_of_step = {"resolution_of_step": lambda step: options.resolution}
    return training_loader(dataset, num_steps=num_steps, **arguments | resolution_of_step | changes)


def images_per_second(dataset, warm_up=1, **changes) -> float:
    """Of `--batches` batches after those that start the process and fill the cache."""
    stream = batches(dataset, warm_up + options.batches, **changes)
    for _ in islice(stream, warm_up):
        pass
    start = time.perf_counter()
    for _ in stream:
        pass
    return options.batches * 16 / (time.perf_counter() - start)


if options.images:
    with tempfile.TemporaryDirectory() as folder:
        print(f"{options.images} images, {options.boxes} boxes\n\n| stage | s | CPU s | peak MB |\n|---|---|---|---|")
        with stage("write"):
            write_coco_sized(f"{folder}/data", num_images=options.images, num_boxes=options.boxes)
        with stage("open, every image's header read"):
            fit, holdout = open_splits(DataConfig(root=f"{folder}/data", holdout_fraction=0.04), ["fit", "holdout"])
        with stage("fingerprint"):
            fit.fingerprint()
        with stage("all boxes"):
            fit.objects()
        with stage("first batch"):
            next(batches(fit, 1))
        with stage("first batch with repeats"):
            next(batches(fit, 1, repeat_threshold=0.02))
        with stage("ground truth of the held-out images"):
            holdout.ground_truth()
if options.root:
    data = open_split(DataConfig(root=options.root), "train")
    print(f"\n{len(data)} images of {options.root} at {options.resolution} px, one worker\n")
    print("| loading | images/s |\n|---|---|")
    for name, changes in {
        "as it is": {},
        "with a cache, once it is full": {"cache_mb": options.cache_mb, "warm_up": len(data) // 16 + 1},
        "crop by IoU and zoom-out": {"augmentation": AugmentationConfig(iou_crop=1, zoom_out=0.5)},
        "mosaic": {"augmentation": AugmentationConfig(mosaic=1)},
    }.items():
        print(f"| {name} | {images_per_second(data, **changes):.0f} |", flush=True)
