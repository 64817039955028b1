import sys
from collections import Counter
from functools import partial

from coco_sized import write_coco_sized

from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.loading import training_loader
from ofa_det.data.sampling import repeat_factors
from ofa_det.data.splits import DataConfig, open_splits


def calls_of(work) -> Counter[str]:
    """Python functions of the package that `work` calls, by module and name."""
    counts: Counter[str] = Counter()

    def count(frame, event, _):
        if event == "call" and "ofa_det" in frame.f_code.co_filename:
            counts[f"{frame.f_globals['__name__']}.{frame.f_code.co_name}"] += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counts


def open_and_use(root) -> None:
    fit, _ = open_splits(DataConfig(root=str(root), holdout_fraction=0.1), ["fit", "holdout"])
    fit.objects()
    fit.box_sizes()
    fit.fingerprint()
    next(
        training_loader(
            fit,
            batch_size=4,
            first_step=0,
            num_steps=1,
            resolution_of_step=lambda step: 64,
            seed=0,
            augmentation=AugmentationConfig(),
            repeat_factors=repeat_factors(fit, 0.1),
        )
    )


def test_a_data_set_of_any_size_opens(tmp_path):
    root = write_coco_sized(tmp_path / "data", num_images=30, num_boxes=200)
    fit, holdout = open_splits(DataConfig(root=str(root), holdout_fraction=0.1), ["fit", "holdout"])
    assert (len(fit), len(holdout)) == (27, 3)
    crowds = sum(annotation["iscrowd"] for part in (fit, holdout) for annotation in part.ground_truth()["annotations"])
    assert len(fit.objects()) + len(holdout.objects()) + crowds == 200
    assert fit.image(0).shape == (480, 640, 3)


def test_opening_takes_no_work_that_grows_faster_than_the_data_set(tmp_path):
    """Four times the images and the boxes: no function of the package is called more than four times as often.

    Nor is any called for each box, but for the one that picks the fields of an entry.
    """
    roots = [
        write_coco_sized(tmp_path / str(times), num_images=500 * times, num_boxes=3000 * times) for times in (1, 4)
    ]
    small, large = (calls_of(partial(open_and_use, root)) for root in roots)
    for name, count in large.items():
        assert count <= 4.1 * max(small[name], 100), name
    # Pillow reads six segments of each of the 2,000 headers, which is as often.
    per_box = {name for name, count in large.items() if count >= 12000 and name.startswith("ofa_det.")}
    assert per_box <= {f"ofa_det.data.annotation_file.{name}" for name in ("<lambda>", "<dictcomp>")}
