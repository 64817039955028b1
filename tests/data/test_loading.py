import itertools
import logging
import shutil
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.batch import Batch
from ofa_det.data.draws import Draw
from ofa_det.data.images import MID_GREY, stretch
from ofa_det.data.loading import image_batches, spread, training_loader
from ofa_det.data.sampling import repeat_factors
from ofa_det.data.splits import DataConfig, open_split


@pytest.fixture
def dataset(coco):
    for image_id in range(7):
        coco.add_image(image_id)
        for number in range(image_id % 3):
            coco.add_box(image_id, [5 + 10 * number, 5, 30, 30], category_id=7)
    coco.add_box(3, [0, 0, 70, 35], iscrowd=1)
    return coco.open()


def resolution_of_step(step: int) -> int:
    return (32, 48, 64)[step % 3]


def batches(dataset, first_step=0, num_steps=4, num_workers=0, seed=5, **changes) -> list[Batch]:
    arguments = {"batch_size": 3, "augmentation": AugmentationConfig(), "resolution_of_step": resolution_of_step}
    return list(
        training_loader(
            dataset,
            first_step=first_step,
            num_steps=num_steps,
            num_workers=num_workers,
            seed=seed,
            **arguments | changes,
        )
    )


def same(first: Batch, second: Batch) -> bool:
    def tensors(batch: Batch):
        attached = [values for image in batch.attached for _, values in sorted(image.items())]
        return [batch.images, *batch.boxes, *batch.labels, *batch.ignored, *attached]

    pairs = itertools.zip_longest(tensors(first), tensors(second))
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_batch_has_its_shapes_and_types(dataset):
    for step, batch in enumerate(batches(dataset)):
        side = resolution_of_step(step)
        assert batch.images.shape == (3, 3, side, side)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert len(batch.boxes) == len(batch.labels) == len(batch.ignored) == 3
        for boxes, labels, ignored in zip(batch.boxes, batch.labels, batch.ignored, strict=True):
            assert boxes.shape == (len(labels), 4)
            assert boxes.dtype == ignored.dtype == torch.float32
            assert labels.dtype == torch.int64
            assert ignored.shape[1:] == (4,)
        assert batch.attached == ({}, {}, {})
        assert same(batch, batch.to("cpu"))


def test_ignored_boxes_are_split_off(dataset):
    plain = AugmentationConfig(horizontal_flip=0, zoom=0)
    seen = batches(dataset, num_steps=1, batch_size=7, augmentation=plain)[0]
    assert sorted(len(boxes) for boxes in seen.boxes) == [0, 0, 0, 1, 1, 2, 2]
    (ignored,) = [ignored for ignored in seen.ignored if len(ignored)]
    torch.testing.assert_close(ignored, torch.tensor([[0, 0, 70 / 80, 35 / 40]]))


def test_a_resumed_run_sees_what_an_uninterrupted_one_does(dataset):
    whole = batches(dataset, num_steps=5)
    resumed = batches(dataset, first_step=2, num_steps=3)
    assert all(same(a, b) for a, b in zip(whole[2:], resumed, strict=True))
    assert not same(whole[0], batches(dataset, num_steps=1, seed=6)[0])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_ranks_share_every_batch_in_order(dataset, num_workers):
    whole = batches(dataset, batch_size=6)
    parts = [batches(dataset, batch_size=6, rank=rank, num_ranks=3, num_workers=num_workers) for rank in range(3)]
    for step, batch in enumerate(whole):
        of_step = [part[step] for part in parts]
        assert torch.equal(torch.cat([part.images for part in of_step]), batch.images)
        boxes = [boxes for part in of_step for boxes in part.boxes]
        assert all(torch.equal(a, b) for a, b in zip(boxes, batch.boxes, strict=True))
    with pytest.raises(ValueError, match="batch_size a multiple of it, found 0, 3, 4"):
        batches(dataset, batch_size=4, rank=0, num_ranks=3)


def test_the_closing_phase_goes_on_without_mosaic(dataset):
    arguments = {"num_steps": 4, "phase_of_step": lambda step: "main" if step < 2 else "closing"}
    plain = batches(dataset, augmentation=AugmentationConfig(), **arguments)
    tiled = batches(dataset, augmentation=AugmentationConfig(mosaic=1.0), **arguments)
    assert [same(a, b) for a, b in zip(plain, tiled, strict=True)] == [False, False, True, True]


class Marks:
    """Attaches which images a draw has, in an array of another length for each of them, and its seed."""

    def __call__(self, drawn: Draw):
        marks = {"indices": np.array(drawn.indices), "seed": np.array(drawn.seed % 1000, np.int32)}
        first = drawn.indices[0]
        return marks if first == 0 else marks | {"scores": np.full((first, 2), first / 7, np.float32)}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_attachments_arrive_with_their_image(dataset, num_workers):
    seen = batches(dataset, num_steps=7, attachments=Marks(), num_workers=num_workers)
    firsts = []
    for attached in (image for batch in seen for image in batch.to("cpu").attached):
        assert attached["seed"].shape == ()
        assert attached["seed"].dtype == torch.int32
        (first,) = attached["indices"].tolist()
        if first == 0:
            assert "scores" not in attached
        else:
            torch.testing.assert_close(attached["scores"], torch.full((first, 2), first / 7))
        firsts.append(first)
    assert sorted(firsts) == sorted(list(range(7)) * 3)


def test_workers_do_not_change_batches_or_global_random_state(dataset):
    changes = {"augmentation": AugmentationConfig(mosaic=0.5), "attachments": Marks()}
    alone = batches(dataset, **changes)
    state = torch.get_rng_state()
    together = batches(dataset, num_workers=2, **changes)
    assert torch.equal(state, torch.get_rng_state())
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_cache_changes_no_batch(dataset, num_workers):
    """Nor one whose image has the size of the input already, so that its pixels pass unstretched."""
    changes = {"num_steps": 9, "augmentation": AugmentationConfig(mosaic=0.3, iou_crop=0.3, zoom_out=0.3)}
    plain = batches(dataset, **changes)
    kept = batches(dataset, **changes, cache_mb=1, num_workers=num_workers)
    assert all(same(a, b) for a, b in zip(plain, kept, strict=True))


@pytest.mark.parametrize("augmentation", [AugmentationConfig(zoom=0), AugmentationConfig(zoom=0, colour_jitter=0)])
def test_kept_pixels_survive_augmentation_at_their_own_size(coco, augmentation):
    coco.add_image(1, width=40, height=40)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(coco.images / "1.png")
    changes = {"num_steps": 9, "resolution_of_step": lambda step: 40, "augmentation": augmentation}
    plain, kept = batches(coco.open(), **changes), batches(coco.open(), **changes, cache_mb=1)
    assert all(same(a, b) for a, b in zip(plain, kept, strict=True))


def test_rare_classes_come_more_often(coco):
    """Of 16 images one shows the class `late`: at a threshold of 1 it comes 4 times in an epoch of 19."""
    for image_id in range(16):
        coco.add_image(image_id)
    coco.add_box(5, [5, 5, 60, 30], category_id=7)
    plain = AugmentationConfig(zoom=0)
    dataset = coco.open()
    for num_workers in (0, 1):
        (epoch,) = batches(
            dataset,
            num_steps=1,
            batch_size=19,
            repeat_factors=repeat_factors(dataset, 1.0),
            augmentation=plain,
            num_workers=num_workers,
        )
        assert sum(len(labels) for labels in epoch.labels) == 4


def test_reduced_decoding_leaves_small_images_as_they_are(coco):
    """One image is large enough for half its size at the greatest resolution; stretching it then loses less."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8))
    for number, side in enumerate((64, 400)):
        coco.add_image(number, width=side, height=side, file_name=f"{number}.jpg")
        noise.resize((side, side)).save(coco.images / f"{number}.jpg")
    dataset = coco.open()
    plain = {"horizontal_flip": 0, "zoom": 0, "colour_jitter": 0, "hue_jitter": 0}
    changes = {"num_steps": 1, "batch_size": 2, "resolution_of_step": lambda step: 64}
    full, reduced, kept = (
        batches(dataset, **changes, max_resolution=128, augmentation=AugmentationConfig(**plain, **more), cache_mb=mb)[
            0
        ]
        for more, mb in (({}, 0), ({"reduced_decoding": True}, 0), ({"reduced_decoding": True}, 1))
    )
    assert same(reduced, kept)
    differing = [not torch.equal(a, b) for a, b in zip(full.images, reduced.images, strict=True)]
    assert sorted(differing) == [False, True]
    one = differing.index(True)
    assert reduced.images[one].float().std() < 0.8 * full.images[one].float().std()
    with pytest.raises(ValueError, match="expected max_resolution with reduced_decoding"):
        batches(dataset, augmentation=AugmentationConfig(reduced_decoding=True))


@pytest.mark.parametrize(("num_workers", "mosaic"), [(0, 0), (2, 0), (0, 1)])
def test_corrupt_pixels_are_warned_of_once_and_delivered_grey(coco, caplog, num_workers, mosaic):
    path = coco.add_image(1)
    coco.add_box(1, [5, 5, 30, 30])
    dataset = coco.open()
    path.write_bytes(path.read_bytes()[:3000])
    with caplog.at_level(logging.WARNING):
        seen = batches(dataset, num_workers=num_workers, augmentation=AugmentationConfig(mosaic=mosaic))
    assert len([record for record in caplog.records if "1.png" in record.getMessage()]) == 1
    assert all(len(boxes) == 0 for batch in seen for boxes in batch.boxes)
    assert all((batch.images.int() - MID_GREY).abs().max() < 40 for batch in seen)


class Complaints(Marks):
    """Warns of every draw, as a library of its images would and as the package does."""

    def __call__(self, drawn: Draw):
        warnings.warn("odd EXIF data", UserWarning, stacklevel=1)
        logging.getLogger("ofa_det.data.images").warning("image %d is odd", drawn.indices[0])
        return super().__call__(drawn)


@pytest.mark.filterwarnings("always:odd EXIF data")
def test_what_workers_warn_of_is_logged_here_once(dataset, caplog, capfd):
    batches(dataset, num_workers=2, num_steps=7, attachments=Complaints())
    told = [record.getMessage() for record in caplog.records]
    assert sorted(told) == [*(f"image {index} is odd" for index in range(7)), "odd EXIF data"]
    assert capfd.readouterr().err == ""


def test_arguments_are_checked_before_the_first_batch(dataset):
    with pytest.raises(ValueError, match="expected batch_size >= 1"):
        training_loader(
            dataset,
            batch_size=0,
            first_step=0,
            num_steps=1,
            resolution_of_step=resolution_of_step,
            seed=0,
            augmentation=AugmentationConfig(),
        )


def test_image_batches_are_plain_stretched_images_in_order(dataset):
    seen = list(image_batches(dataset, size=(24, 32), batch_size=3))
    assert [len(batch) for batch in seen] == [3, 3, 1]
    for index, image in enumerate(np.concatenate(seen)):
        assert np.array_equal(image, stretch(dataset.image(index), (24, 32)))


def test_a_limit_spreads_over_the_data_set(dataset):
    assert spread(7, 3) == [0, 2, 4]
    assert spread(7, None) == spread(7, 10) == list(range(7))
    (seen,) = image_batches(dataset, size=(40, 80), batch_size=8, limit=3)
    assert np.array_equal(seen[1], dataset.image(2))
    with pytest.raises(ValueError, match="expected a limit of at least 1, found 0"):
        next(image_batches(dataset, size=(8, 8), batch_size=1, limit=0))


def test_image_batches_survive_corrupt_pixels(coco, caplog):
    path = coco.add_image(1)
    dataset = coco.open()
    path.write_bytes(path.read_bytes()[:3000])
    (seen,) = image_batches(dataset, size=(8, 8), batch_size=1)
    assert (seen == MID_GREY).all()
    assert "1.png" in caplog.text


@pytest.fixture
def opencv_threads():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.timeout(60)
def test_forked_workers_do_not_wait_for_the_threads_of_the_parents_opencv(dataset, opencv_threads):
    large = {"num_steps": 2, "resolution_of_step": lambda step: 640}  # Large enough for OpenCV to share the work.
    cv2.setNumThreads(4)
    alone = batches(dataset, **large)
    cv2.setNumThreads(2)  # The pool shrinks when it is next used: in a worker, it would wait for threads to end.
    together = batches(dataset, num_workers=2, **large)
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    assert cv2.getNumThreads() == 2


def test_importing_is_light_and_leaves_opencv_as_it_is():
    script = """
import sys, cv2
cv2.setNumThreads(3)
import ofa_det.data.anchors, ofa_det.data.generated, ofa_det.data.loading, ofa_det.data.splits
assert "albumentations" not in sys.modules
import ofa_det.data.augmentation
assert cv2.getNumThreads() == 3
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_an_image_that_is_deleted_while_training_runs_is_named_once(tiny_root, tmp_path, caplog):
    """Its place in the batches is grey, and the others go on."""
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    dataset = open_split(DataConfig(root=str(root)), "train")
    gone = dataset.path(0)
    gone.unlink()
    loader = training_loader(
        dataset,
        batch_size=len(dataset),
        first_step=0,
        num_steps=2,
        resolution_of_step=lambda step: 32,
        seed=0,
        augmentation=AugmentationConfig(),
    )
    assert [batch.images.shape[0] for batch in loader] == [len(dataset)] * 2
    assert [record.getMessage() for record in caplog.records] == [
        f"expected an image, found nothing at {gone}; it is taken as grey, without boxes"
    ]
