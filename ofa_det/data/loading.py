"""Batches: an endless training stream that can be entered at any step, and plain images for everything else."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, get_worker_info

from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.batch import Batch, pack, unpack
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.draws import Draw, Phase, TrainingStream
from ofa_det.data.image_cache import cached
from ofa_det.data.images import reduction, stretch
from ofa_det.data.samples import Attachments, SampleTeacher, TrainingSamples, image_or_grey

logger = logging.getLogger(__name__)

_DRAWN_SEED = 0  # Of `DrawnImages`.


def main_phase(step: int) -> Phase:
    """The phase of every step of a run without a closing one."""
    return "main"


def training_loader(
    dataset: CocoDataset,
    *,
    batch_size: int,
    first_step: int,
    num_steps: int,
    resolution_of_step: Callable[[int], int],
    seed: int,
    augmentation: AugmentationConfig,
    phase_of_step: Callable[[int], Phase] = main_phase,
    attachments: Attachments | None = None,
    teacher: SampleTeacher | None = None,
    num_workers: int = 0,
    repeat_factors: NDArray[np.float64] | None = None,
    max_resolution: int | None = None,
    cache_mb: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[Batch]:
    """Delivers the batches of steps `first_step` .. `first_step + num_steps - 1`.

    Draw n of a run, see `ofa_det.data.draws`, follows from (`seed`, n), so a step's batch follows from its number
    alone: a resumed run sees what an uninterrupted one does, whatever the number of workers. An image whose pixels
    cannot be decoded is delivered grey without boxes. What workers warn of, such images too, is logged here, once.

    Args:
        dataset: what to draw from.
        batch_size: images in a batch.
        first_step: number of the first batch.
        num_steps: number of batches.
        resolution_of_step: step -> side of its images, in pixels.
        seed: of order and augmentation; not negative.
        augmentation: how images are varied.
        phase_of_step: step -> phase of training.
        attachments: gives what arrives in `Batch.attached`.
        teacher: adds what it says to the annotations.
        num_workers: processes of each rank that prepare batches; 0 prepares them in this one.
        repeat_factors: (N,) how often each image is drawn in an epoch, on average, see `ofa_det.data.sampling`.
        max_resolution: the greatest of the whole run, in pixels; needed for reduced decoding.
        cache_mb: memory of each rank for decoded images, in 10^6 bytes, shared by its workers; the batches are the same
            with and without. Of a data set that does not fit, none is kept.
        rank: which part of every batch is delivered, from 0.
        num_ranks: equal parts that every batch is divided into, in order.

    Raises:
        ValueError: an argument is out of its range.
    """
    if batch_size < 1 or min(first_step, num_steps, seed, num_workers, cache_mb) < 0:
        raise ValueError(
            "expected batch_size >= 1 and first_step, num_steps, seed, num_workers, cache_mb >= 0, found "
            f"{batch_size}, {first_step}, {num_steps}, {seed}, {num_workers}, {cache_mb}"
        )
    if not 0 <= rank < num_ranks or batch_size % num_ranks:
        raise ValueError(
            f"expected a rank below num_ranks, and batch_size a multiple of it, found {rank}, {num_ranks}, {batch_size}"
        )
    min_side = _min_side(augmentation, max_resolution)
    # Imported this late since albumentations takes seconds to load, but before the workers are forked, which share it.
    from ofa_det.data.augmentation import Augmenter

    stream = TrainingStream(
        seed,
        num_images=len(dataset),
        mosaic=augmentation.mosaic,
        repeat_factors=repeat_factors,
    )
    if repeat_factors is not None:
        logger.info("an epoch has %d draws of %d images", stream.epoch_length, len(dataset))
    read = cached(
        partial(dataset.image, min_side=min_side), _decoded_bytes(dataset, min_side), max_bytes=cache_mb * 10**6
    )
    samples = TrainingSamples(dataset, read, Augmenter(augmentation), attachments, teacher)
    part = batch_size // num_ranks
    draws = (
        _draws_of_step(stream, step * batch_size + rank * part, part, resolution_of_step(step), phase_of_step(step))
        for step in range(first_step, first_step + num_steps)
    )
    return _deliver(samples, draws, num_workers)


def image_batches(
    dataset: CocoDataset, *, size: tuple[int, int], batch_size: int, limit: int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Delivers images as a network takes them: stretched, without augmentation, in the order of the data set.

    An image whose pixels cannot be decoded is named in a warning and delivered grey.

    Args:
        dataset: where they come from.
        size: (height, width), in pixels.
        batch_size: images in a batch; the last batch may be smaller.
        limit: deliver at most so many images, spread evenly over the data set.

    Yields:
        (B, height, width, 3) RGB.
    """
    if batch_size < 1:
        raise ValueError(f"expected batch_size >= 1, found {batch_size}")
    positions = spread(len(dataset), limit)
    for start in range(0, len(positions), batch_size):
        batch = []
        for index in positions[start : start + batch_size]:
            image, problem = image_or_grey(dataset, index, dataset.image)
            if problem:
                logger.warning("%s; it is taken as grey", problem)
            batch.append(stretch(image, size))
        yield np.stack(batch)


def spread(length: int, limit: int | None) -> list[int]:
    """At most `limit` of the positions 0 .. length - 1, evenly spread, all of them without a limit."""
    if limit is not None and limit < 1:
        raise ValueError(f"expected a limit of at least 1, found {limit}")
    count = length if limit is None else min(limit, length)
    return [number * length // count for number in range(count)]


def _min_side(augmentation: AugmentationConfig, max_resolution: int | None) -> int | None:
    """Side that an image keeps when it is decoded at a reduced size, in pixels; none where it is decoded whole."""
    if not augmentation.reduced_decoding:
        return None
    if max_resolution is None:
        raise ValueError("expected max_resolution with reduced_decoding, found none")
    return math.ceil(max_resolution * augmentation.largest_magnification)


def _draws_of_step(stream: TrainingStream, first: int, count: int, resolution: int, phase: Phase) -> list[Draw]:
    """So many draws of a run from its draw `first` on, which are a rank's of one step."""
    return [stream.draw(number, resolution=resolution, phase=phase) for number in range(first, first + count)]


def _decoded_bytes(dataset: CocoDataset, min_side: int | None) -> NDArray[np.int64]:
    """(N,) bytes that each image takes once it is decoded."""
    sides = dataset.image_sizes
    if min_side is not None:
        sides = -(-sides // reduction(sides, min_side)[:, None])
    return np.asarray(sides.prod(axis=1) * 3)


@dataclass(frozen=True, kw_only=True)
class DrawnImages:
    """Reads images as `image_batches` does, but varied as training draws them.

    Args:
        augmentation: how images are varied; without mosaic, as training ends.
    """

    augmentation: AugmentationConfig

    def __call__(
        self, dataset: CocoDataset, *, size: tuple[int, int], batch_size: int, limit: int | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """(B, side, side, 3) RGB batches of at most `limit` images, the first of an epoch of their own."""
        from ofa_det.data.augmentation import Augmenter

        side, count = size[0], len(dataset) if limit is None else min(limit, len(dataset))
        stream = TrainingStream(_DRAWN_SEED, num_images=len(dataset), mosaic=0.0)
        read = partial(dataset.image, min_side=_min_side(self.augmentation, side))
        draws = (
            _draws_of_step(stream, first, min(batch_size, count - first), side, "closing")
            for first in range(0, count, batch_size)
        )
        for batch in _deliver(TrainingSamples(dataset, read, Augmenter(self.augmentation), None, None), draws, 0):
            yield batch.images.permute(0, 2, 3, 1).numpy()


def _prepare_worker(worker: int) -> None:
    """Lets warnings travel with the samples, and keeps OpenCV out of the thread pool that this process inherited.

    A fork copies the pool's state but none of its threads. What wakes, resizes or ends it, as `setNumThreads(1)` does,
    can wait for ever for them. With 0, OpenCV computes in the calling thread and never looks at the pool. It is set
    here, not where the package is imported: the setting is global, and the parent's own is not ours to change.
    """
    cv2.setNumThreads(0)
    info = get_worker_info()
    assert info is not None
    cast(TrainingSamples, info.dataset).collect_warnings()


def _deliver(samples: TrainingSamples, draws: Iterator[list[Draw]], num_workers: int) -> Iterator[Batch]:
    loader = DataLoader(
        samples,
        batch_sampler=draws,
        num_workers=num_workers,
        collate_fn=pack,
        worker_init_fn=_prepare_worker,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # Else the loader advances the global one, on which a resumed run relies.
    )
    warned: set[str] = set()
    for packed in loader:
        for note in packed["notes"]:
            if note not in warned:
                warned.add(note)
                logger.warning("%s", note)
        yield unpack(packed)
