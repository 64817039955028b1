"""Stores a teacher's feature maps of the views that its labels are of."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate
from tqdm import tqdm

from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.loading import spread
from ofa_det.detection.imitation import NEAR
from ofa_det.teachers.feature_file import FeatureConfig, FeatureHeader, StoredFeatures
from ofa_det.teachers.image_folder import ImageSource
from ofa_det.teachers.views import view_seed

logger = logging.getLogger(__name__)

SHARD_IMAGES = 64
_SAMPLED_IMAGES = 128
"""Images that the principal components are of, one view of each."""
_DEVIATIONS = 4.0
"""Standard deviations of a channel that its byte reaches; more is clipped."""

Maps = Mapping[int, NDArray[np.float32]]
"""Maps (B, C, side, side), by side or by stride."""


@runtime_checkable
class FeatureTeacher(Protocol):
    """A teacher whose feature maps can be had."""

    @property
    def resolution(self) -> int | None:
        """Side of the images that it takes or was trained at, in pixels; None for any."""
        ...

    def features(self, images: NDArray[np.uint8]) -> Maps:
        """The maps that its head reads, by side, the last of each.

        Args:
            images: (B, R, R, 3) RGB.
        """
        ...


class _Projection:
    """Principal components of a map's channels, by descending variance, each as a byte.

    Args:
        maps: (B, C, H, W) that they are of.
        channels: how many.
    """

    def __init__(self, maps: NDArray[np.float32], channels: int) -> None:
        cells = maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1]).astype(np.float64)
        self._mean = cells.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(cells, rowvar=False).reshape(len(self._mean), -1))
        # The sign of an axis is arbitrary; the same on all machines if its largest part is positive.
        axes = axes[:, ::-1][:, :channels]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(channels)])
        deviations = np.sqrt(np.maximum(variances[::-1][:channels], np.finfo(np.float32).tiny))
        self._axes = axes * (127 / _DEVIATIONS / deviations)

    def __call__(self, maps: NDArray[np.float32]) -> NDArray[np.int8]:
        """(B, C, H, W) as (B, D, H, W)."""
        projected = np.rint((maps.transpose(0, 2, 3, 1) - self._mean) @ self._axes)
        return np.asarray(projected.clip(-127, 127).transpose(0, 3, 1, 2), np.int8)


def store_features(
    teacher: FeatureTeacher, store: StoredFeatures, source: ImageSource, *, batch_size: int, progress: bool = False
) -> None:
    """Writes the shards that are missing.

    An image that cannot be read has maps of zeros, like its sample in training no boxes.

    Args:
        teacher: whose maps.
        store: where to, and of which views.
        source: the images of the labels.
        batch_size: views that the teacher is given at once.
        progress: show a progress bar.

    Raises:
        ValueError: the teacher has no map of a stride.
    """
    views, wanted = _Views(source, store.header), store.header.features
    rows = iter(spread(len(source), _SAMPLED_IMAGES))
    sampled = [views(index, 1) for index in rows]
    found = [maps_of(teacher, np.concatenate(group), wanted) for group in _groups(sampled, batch_size)]
    project = {
        stride: _Projection(np.concatenate([maps[stride] for maps in found]), wanted.channels)
        for stride in wanted.strides
    }
    store.write_header()
    with tqdm(total=len(source), desc="features", unit="image", disable=not progress) as bar:
        for number, path in enumerate(store.shards):
            first = number * store.header.shard_images
            indices = range(first, min(first + store.header.shard_images, len(source)))
            if not path.is_file():
                shard = [views(index, store.header.labels.views) for index in indices]
                store.write_shard(path, _shard(teacher, shard, wanted, project, batch_size))
            bar.update(len(indices))


class _Views:
    """The views of an image as training will see them, but for colours."""

    def __init__(self, source: ImageSource, header: FeatureHeader) -> None:
        # Imported this late since albumentations takes seconds to load.
        from ofa_det.data.augmentation import Augmenter

        self._source = source
        self._header = header
        self._augmenter = Augmenter(header.labels.augmentation or AugmentationConfig())

    def __call__(self, index: int, views: int) -> NDArray[np.uint8]:
        """(views, R, R, 3), the first of an image."""
        resolution = self._header.features.resolution
        assert resolution is not None, "stated where a teacher is opened"
        try:
            image = self._source.image(index)
        except (ValueError, OSError):
            return np.zeros((views, resolution, resolution, 3), np.uint8)
        labelled = (image, self._source.annotations(index))
        seeds = (view_seed(self._header.labels.seed, index, view) for view in range(views))
        return np.stack([self._augmenter([labelled], resolution=resolution, seed=seed)[0] for seed in seeds])


def _shard(
    teacher: FeatureTeacher,
    images: Sequence[NDArray[np.uint8]],
    wanted: FeatureConfig,
    project: Mapping[int, _Projection],
    batch_size: int,
) -> dict[int, NDArray[np.int8]]:
    """Maps (n, V, D, side, side) of n images, by stride."""
    pixels = np.concatenate(images)
    parts = []
    for first in range(0, len(pixels), batch_size):
        maps = maps_of(teacher, pixels[first : first + batch_size], wanted)
        parts.append({stride: projection(maps[stride]) for stride, projection in project.items()})
    whole = {stride: np.concatenate([part[stride] for part in parts]) for stride in project}
    return {stride: values.reshape(len(images), -1, *values.shape[1:]) for stride, values in whole.items()}


def _groups(images: Sequence[NDArray[np.uint8]], size: int) -> list[list[NDArray[np.uint8]]]:
    rest = iter(images)
    return list(iter(lambda: list(islice(rest, size)), []))


def maps_of(
    teacher: FeatureTeacher, images: NDArray[np.uint8], wanted: FeatureConfig
) -> dict[int, NDArray[np.float32]]:
    """A teacher's maps (B, C, side, side) of the nearest strides, by stride, with the cells that are stored.

    Args:
        teacher: whose maps.
        images: (B, R, R, 3) RGB.
        wanted: strides, and cells.

    Raises:
        ValueError: the teacher has no map of about a stride.
    """
    maps = {images.shape[1] / side: values for side, values in teacher.features(images).items()}
    found = {}
    for stride in wanted.strides:
        nearest = min(maps, key=lambda other: max(other / stride, stride / other))
        if not 1 / NEAR < nearest / stride < NEAR:
            known = ", ".join(f"{other:g}" for other in sorted(maps))
            raise ValueError(f"expected features.strides of about those of the teacher, {known}, found {stride}")
        found[stride] = _resized(maps[nearest], wanted.side(stride))
    return found


def check_maps(teacher: FeatureTeacher, wanted: FeatureConfig) -> None:
    """Refuses what a teacher has not, by the maps of a black image.

    Raises:
        ValueError: the teacher has no map of about a stride, or fewer channels than are wanted.
    """
    assert wanted.resolution is not None, "stated where a teacher is opened"
    maps = maps_of(teacher, np.zeros((1, wanted.resolution, wanted.resolution, 3), np.uint8), wanted)
    if (most := min(one.shape[1] for one in maps.values())) < wanted.channels:
        raise ValueError(f"expected at most {most} features.channels, found {wanted.channels}")


def _resized(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    if maps.shape[2:] == (side, side):
        return maps
    resized = interpolate(torch.from_numpy(maps), size=(side, side), mode="bilinear", antialias=True)
    return np.asarray(resized.numpy(), np.float32)
