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
from ofa_det.artefacts.records import check_identity, read_record, to_plain, write_record
from ofa_det.teachers.label_file import LabelHeader

FEATURES_FOLDER = "features"
ANY_PX = 416
"""Side of what a teacher is shown that takes images of any size."""

HEADER_NAME = "features.json"


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Feature maps that are stored with the labels of views.

    Args:
        strides: of the maps, in pixels of the input to a cell; none stores none. A student's levels imitate those of
            their stride, whatever its input.
        channels: kept of each map, the principal components; at most the width of the student's levels.
        resolution: side of what the teacher is shown, in pixels; by default what it takes, or was trained at, and 416
            for one that takes any.
        stored: side of an input whose cells are stored, in pixels, for less room; by default resolution. At 224, stride
            8 has 28 x 28 cells.
    """

    strides: tuple[int, ...] = ()
    channels: int = 32
    resolution: int | None = None
    stored: int | None = None

    def __post_init__(self) -> None:
        if any(stride < 1 for stride in self.strides) or len(set(self.strides)) < len(self.strides):
            raise ValueError(f"expected different strides of at least 1, found {self.strides}")
        for name in ("channels", "resolution", "stored"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"expected {name} >= 1, found {value}")

    def side(self, stride: int) -> int:
        """Cells along a side of a stored map."""
        pixels = self.stored or self.resolution
        assert pixels is not None, "stated where a teacher is opened"
        return -(-pixels // stride)


@dataclass(frozen=True, kw_only=True)
class FeatureHeader:
    """What the features are of.

    Args:
        labels: header of the labels that they belong to.
        features: which maps, of which resolution.
        num_images: N.
        shard_images: images in a shard.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

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
        if not (folder / HEADER_NAME).is_file():
            raise FileNotFoundError(
                f"expected a teacher's features in {folder}, found none; label with --views and --features.strides"
            )
        header = read_record(folder / HEADER_NAME, FeatureHeader)
        if header.labels != expected:
            raise ValueError(f"expected features of the labels beside {folder}, found others; make both anew")
        found = cls(folder, header)
        if missing := [path for path in found.shards if not path.is_file()]:
            raise ValueError(f"expected {missing[0]}, found nothing; pass --resume to label_with_teacher")
        return found

    @property
    def bytes(self) -> int:
        """What all maps take."""
        features = self.header.features
        cells = sum(features.side(stride) ** 2 for stride in features.strides)
        return self.header.num_images * self.header.labels.views * features.channels * cells

    @property
    def shards(self) -> tuple[Path, ...]:
        """Their paths, in order."""
        starts = range(0, self.header.num_images, self.header.shard_images)
        return tuple(self.folder / f"features-{start:08d}.safetensors" for start in starts)

    def of(self, image: int, view: int) -> dict[int, NDArray[np.int8]]:
        """Map (D, side, side) of each stride.

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
                strides = self.header.features.strides
                return {stride: np.asarray(file.get_slice(str(stride))[row, view], np.int8) for stride in strides}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"expected features in {path}, found {error}; make them anew") from error

    def check(self) -> None:
        """Refuses features of something else in the folder.

        Raises:
            ValueError: naming the first difference.
        """
        path = self.folder / HEADER_NAME
        if path.is_file():
            found = to_plain(read_record(path, FeatureHeader))
            check_identity(found, to_plain(self.header), where=str(path), mend="choose another --output")

    def write_header(self) -> None:
        """Says what the shards are of; they may still be missing."""
        write_record(self.folder / HEADER_NAME, self.header)

    @staticmethod
    def write_shard(path: Path, maps: Mapping[int, NDArray[np.int8]]) -> None:
        """Writes maps (n, V, D, side, side) of n images, by stride, atomically."""
        write_atomically(path, save({str(stride): np.ascontiguousarray(values) for stride, values in maps.items()}))
