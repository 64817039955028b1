"""Batches: an endless training stream that can be entered at any step, and plain images for everything else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ofa_det.data.annotations import Annotations
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.images import MID_GREY, stretch
from ofa_det.data.transforms import AugmentationConfig, Augmenter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draw:
    """One image drawn for training.

    Args:
        index: position in the data set.
        seed: of its augmentation.
        resolution: side of the square result, in pixels.
    """

    index: int
    seed: int
    resolution: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training images and their boxes.

    Args:
        images: (B, 3, R, R) uint8 RGB, channels last in memory.
        boxes: B tensors (G, 4) xyxy, normalised.
        labels: B tensors (G,), positions in the data set's categories.
        crowd: B tensors (K, 4) of boxes that cover groups of objects: neither targets nor background.
    """

    images: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    crowd: tuple[Tensor, ...]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            images=self.images.to(device, non_blocking=True),
            boxes=tuple(boxes.to(device, non_blocking=True) for boxes in self.boxes),
            labels=tuple(labels.to(device, non_blocking=True) for labels in self.labels),
            crowd=tuple(crowd.to(device, non_blocking=True) for crowd in self.crowd),
        )


def training_loader(
    dataset: CocoDataset,
    *,
    batch_size: int,
    first_step: int,
    num_steps: int,
    resolution_of_step: Callable[[int], int],
    seed: int,
    augmentation: AugmentationConfig,
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Delivers the batches of steps `first_step` .. `first_step + num_steps - 1`.

    Draw n of a run is image `permutation(seed, n // N)[n % N]`, augmented with a seed made from (`seed`, n), so a
    step's batch follows from its number alone: a resumed run sees what an uninterrupted one does, whatever the number
    of workers. An image whose pixels cannot be decoded is named in a warning, once, and delivered grey without boxes.

    Args:
        dataset: what to draw from.
        batch_size: images in a batch.
        first_step: number of the first batch.
        num_steps: number of batches.
        resolution_of_step: step -> side of its images, in pixels.
        seed: of order and augmentation; not negative.
        augmentation: how images are varied.
        num_workers: processes that prepare batches; 0 prepares them in this one.

    Raises:
        ValueError: an argument is out of its range.
    """
    if batch_size < 1 or first_step < 0 or num_steps < 0 or seed < 0 or num_workers < 0:
        raise ValueError(
            "expected batch_size >= 1 and first_step, num_steps, seed, num_workers >= 0, found "
            f"{batch_size}, {first_step}, {num_steps}, {seed}, {num_workers}"
        )
    steps = range(first_step, first_step + num_steps)
    draws = _DrawBatches(len(dataset), batch_size, steps, resolution_of_step, seed)
    return _deliver(_TrainingSamples(dataset, augmentation), draws, num_workers)


def draw(seed: int, number: int, num_images: int, resolution: int) -> Draw:
    """The draw of a given number, out of a training stream over `num_images` images."""
    epoch, position = divmod(number, num_images)
    augmentation_seed = int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])
    return Draw(int(_permutation(seed, epoch, num_images)[position]), augmentation_seed, resolution)


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
            image, problem = _image_or_grey(dataset, index)
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


@lru_cache(maxsize=2)  # A batch may span two epochs.
def _permutation(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(length)


def _image_or_grey(dataset: CocoDataset, index: int) -> tuple[NDArray[np.uint8], str]:
    """The image, or a grey one of its size and what is wrong with it."""
    try:
        return dataset.image(index), ""
    except (ValueError, OSError) as error:
        return np.full((*dataset.image_size(index), 3), MID_GREY, np.uint8), str(error)


class _Sample(NamedTuple):
    image: NDArray[np.uint8]
    annotations: Annotations
    problem: str


class _DrawBatches(Sampler[list[Draw]]):
    """The draws of each step, made while they are asked for."""

    def __init__(
        self, num_images: int, batch_size: int, steps: range, resolution_of_step: Callable[[int], int], seed: int
    ) -> None:
        self._num_images = num_images
        self._batch_size = batch_size
        self._steps = steps
        self._resolution_of_step = resolution_of_step
        self._seed = seed

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in self._steps:
            resolution = self._resolution_of_step(step)
            numbers = range(step * self._batch_size, (step + 1) * self._batch_size)
            yield [draw(self._seed, number, self._num_images, resolution) for number in numbers]


class _TrainingSamples(Dataset[_Sample]):
    """Draw -> sample; runs in the worker processes."""

    def __init__(self, dataset: CocoDataset, augmentation: AugmentationConfig) -> None:
        self._dataset = dataset
        self._augmentation = augmentation
        self._augmenters: dict[int, Augmenter] = {}

    def __getitem__(self, drawn: Draw) -> _Sample:
        image, problem = _image_or_grey(self._dataset, drawn.index)
        annotations = Annotations.none() if problem else self._dataset.annotations(drawn.index)
        if drawn.resolution not in self._augmenters:
            self._augmenters[drawn.resolution] = Augmenter(self._augmentation, drawn.resolution)
        return _Sample(*self._augmenters[drawn.resolution](image, annotations, drawn.seed), problem)


def _pack(samples: list[_Sample]) -> dict[str, Any]:
    """A batch in few tensors: each one that crosses a process boundary costs a file descriptor."""
    annotations = [sample.annotations for sample in samples]
    objects = [~boxes.crowd for boxes in annotations]
    pairs = list(zip(annotations, objects, strict=True))
    return {
        "images": torch.from_numpy(np.stack([sample.image for sample in samples])),
        "boxes": torch.from_numpy(np.concatenate([a.boxes[kept] for a, kept in pairs])),
        "labels": torch.from_numpy(np.concatenate([a.labels[kept] for a, kept in pairs])),
        "crowd": torch.from_numpy(np.concatenate([a.boxes[~kept] for a, kept in pairs])),
        "counts": [int(kept.sum()) for kept in objects],
        "crowd_counts": [int((~kept).sum()) for kept in objects],
        "problems": [sample.problem for sample in samples if sample.problem],
    }


def _deliver(samples: _TrainingSamples, draws: _DrawBatches, num_workers: int) -> Iterator[Batch]:
    loader = DataLoader(
        samples,
        batch_sampler=draws,
        num_workers=num_workers,
        collate_fn=_pack,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # Else the loader advances the global one, on which a resumed run relies.
    )
    warned: set[str] = set()
    for packed in loader:
        for problem in packed["problems"]:
            if problem not in warned:
                warned.add(problem)
                logger.warning("%s; it is taken as grey, without boxes", problem)
        yield Batch(
            images=packed["images"].permute(0, 3, 1, 2),
            boxes=packed["boxes"].split(packed["counts"]),
            labels=packed["labels"].split(packed["counts"]),
            crowd=packed["crowd"].split(packed["crowd_counts"]),
        )
