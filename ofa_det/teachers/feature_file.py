"""`features/`: what a teacher's feature maps are like in the stored views of a data set, for training to imitate.

A shard holds some images. A cell takes a byte for each channel: imitation looks at correlations, so that neither offset
nor scale of a channel needs to be kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.teachers.label_file import LabelHeader

FEATURES_FOLDER = "features"
_HEADER_NAME = "features.json"


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Feature maps that are stored with the labels of views.

    Args:
        sides: of the square maps, in cells; none stores none. Training imitates those that have as many cells as one of
            its levels: at 320 px, 20 is the level of stride 16. One that the teacher has not is made from its next
            larger map.
        channels: kept of each map, the principal components; at most the width of the student's levels.
        resolution: side of what the teacher is shown, in pixels.
    """

    sides: tuple[int, ...] = ()
    channels: int = 32
    resolution: int = 320

    def __post_init__(self) -> None:
        if any(side < 1 for side in self.sides) or len(set(self.sides)) < len(self.sides):
            raise ValueError(f"expected different sides of at least 1 cell, found {self.sides}")
        if min(self.channels, self.resolution) < 1:
            raise ValueError(
                f"expected channels and resolution of at least 1, found {self.channels} and {self.resolution}"
            )


@dataclass(frozen=True, kw_only=True)
class FeatureHeader:
    """What the features are of.

    Args:
        labels: header of the labels that they belong to.
        features: which maps.
        num_images: N.
        shard_images: images in a shard.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    labels: LabelHeader
    features: FeatureConfig
    num_images: int
    shard_images: int


class StoredFeatures:
    """Features of N images in V views each; shards are opened when they are read.

    Args:
        folder: beside the labels.
        header: of the features.
    """

    def __init__(self, folder: Path, header: FeatureHeader) -> None:
        self.folder = folder
        self.header = header

    @classmethod
    def read(cls, labels: str | os.PathLike[str], expected: LabelHeader) -> StoredFeatures:
        """Opens the features beside labels.

        Args:
            labels: file of the labels, or their folder.
            expected: header of the labels.

        Raises:
            FileNotFoundError: there are none.
            ValueError: features of other labels, or shards missing.
        """
        folder = (Path(labels) if Path(labels).is_dir() else Path(labels).parent) / FEATURES_FOLDER
        if not (folder / _HEADER_NAME).is_file():
            raise FileNotFoundError(
                f"expected a teacher's features in {folder}, found none; label with --views and --features.sides"
            )
        header = read_record(folder / _HEADER_NAME, FeatureHeader)
        if header.labels != expected:
            raise ValueError(f"expected features of the labels beside {folder}, found others; make both anew")
        found = cls(folder, header)
        if missing := [path for path in found.shards if not path.is_file()]:
            raise ValueError(f"expected {missing[0]}, found nothing; pass --resume to label_with_teacher")
        return found

    @property
    def shards(self) -> tuple[Path, ...]:
        """Their paths, in order."""
        starts = range(0, self.header.num_images, self.header.shard_images)
        return tuple(self.folder / f"features-{start:08d}.safetensors" for start in starts)

    def of(self, image: int, view: int) -> dict[int, NDArray[np.int8]]:
        """Map (D, side, side) of each side.

        Args:
            image: row of the image in the labels.
            view: 0 .. V - 1.

        Raises:
            ValueError: a shard that cannot be read.
        """
        shard, row = divmod(image, self.header.shard_images)
        path = self.shards[shard]
        try:
            with safe_open(path, framework="numpy") as file:
                sides = self.header.features.sides
                return {side: np.asarray(file.get_slice(str(side))[row, view], np.int8) for side in sides}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"expected features in {path}, found {error}; make them anew") from error

    def write_header(self) -> None:
        """Says what the shards are of; they may still be missing."""
        write_record(self.folder / _HEADER_NAME, self.header)

    @staticmethod
    def write_shard(path: Path, maps: Mapping[int, NDArray[np.int8]]) -> None:
        """Writes maps (n, V, D, side, side) of n images atomically."""
        write_atomically(path, save({str(side): np.ascontiguousarray(values) for side, values in maps.items()}))
