import itertools
import logging

import cv2
import numpy as np
import pytest
import torch

from ofa_det.data.images import MID_GREY, stretch
from ofa_det.data.loading import Batch, draw, image_batches, spread, training_loader
from ofa_det.data.transforms import AugmentationConfig


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
        return [batch.images, *batch.boxes, *batch.labels, *batch.crowd]

    pairs = itertools.zip_longest(tensors(first), tensors(second))
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_batch_has_its_shapes_and_types(dataset):
    for step, batch in enumerate(batches(dataset)):
        side = resolution_of_step(step)
        assert batch.images.shape == (3, 3, side, side)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert len(batch.boxes) == len(batch.labels) == len(batch.crowd) == 3
        for boxes, labels, crowd in zip(batch.boxes, batch.labels, batch.crowd, strict=True):
            assert boxes.shape == (len(labels), 4)
            assert boxes.dtype == crowd.dtype == torch.float32
            assert labels.dtype == torch.int64
            assert crowd.shape[1:] == (4,)
        assert same(batch, batch.to("cpu"))


def test_an_epoch_sees_every_image_once(dataset):
    numbers = [draw(5, number, 7, 32) for number in range(21)]
    for epoch in range(3):
        assert sorted(d.index for d in numbers[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert len({d.seed for d in numbers}) == 21
    assert [d.index for d in numbers[:7]] != [d.index for d in numbers[7:14]]


def test_crowd_boxes_are_split_off(dataset):
    plain = AugmentationConfig(horizontal_flip=0, zoom=0)
    seen = batches(dataset, num_steps=1, batch_size=7, augmentation=plain)[0]
    assert sorted(len(boxes) for boxes in seen.boxes) == [0, 0, 0, 1, 1, 2, 2]
    (crowd,) = [crowd for crowd in seen.crowd if len(crowd)]
    torch.testing.assert_close(crowd, torch.tensor([[0, 0, 70 / 80, 35 / 40]]))


def test_a_resumed_run_sees_what_an_uninterrupted_one_does(dataset):
    whole = batches(dataset, num_steps=5)
    resumed = batches(dataset, first_step=2, num_steps=3)
    assert all(same(a, b) for a, b in zip(whole[2:], resumed, strict=True))
    assert not same(whole[0], batches(dataset, num_steps=1, seed=6)[0])


def test_workers_do_not_change_batches_or_global_random_state(dataset):
    alone = batches(dataset)
    state = torch.get_rng_state()
    together = batches(dataset, num_workers=2)
    assert torch.equal(state, torch.get_rng_state())
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_corrupt_pixels_are_warned_of_once_and_delivered_grey(coco, caplog, num_workers):
    path = coco.add_image(1)
    coco.add_box(1, [5, 5, 30, 30])
    dataset = coco.open()
    path.write_bytes(path.read_bytes()[:3000])
    with caplog.at_level(logging.WARNING):
        seen = batches(dataset, num_workers=num_workers)
    assert len([record for record in caplog.records if "1.png" in record.getMessage()]) == 1
    assert all(len(boxes) == 0 for batch in seen for boxes in batch.boxes)
    assert all((batch.images.int() - MID_GREY).abs().max() < 40 for batch in seen)


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


def test_opencv_keeps_no_pool_that_a_forked_worker_would_wait_for():
    assert cv2.getNumThreads() == 1
