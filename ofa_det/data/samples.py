"""From a draw to a training sample, in the process that prepares it, with what it has to tell."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ofa_det.data.annotations import Annotations
from ofa_det.data.batch import Sample
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.draws import Draw
from ofa_det.data.image_cache import ReadImage
from ofa_det.data.images import MID_GREY

if TYPE_CHECKING:
    from ofa_det.data.augmentation import Augmenter
logger = logging.getLogger(__name__)

_LARGEST_GREY_PX = 4096
"""Longer side of what stands for an image that cannot be decoded; it looks the same at any size."""


class Attachments(Protocol):
    """What travels with a training sample, such as a teacher's stored labels of it."""

    def __call__(self, drawn: Draw) -> Mapping[str, NDArray[Any]]:
        """Arrays of one draw, by name; called in the process that prepares it."""
        ...


class SampleTeacher(Protocol):
    """What a teacher has said of the images that samples are made of; called in the process that prepares them."""

    def seed(self, drawn: Draw) -> int:
        """The seed of the draw's augmentation: its own, or that of a view which the teacher has seen."""
        ...

    def whole(self, drawn: Draw, index: int, annotations: Annotations) -> Annotations:
        """The annotations of an image of the draw as it is, with what the teacher says of it."""
        ...

    def varied(self, drawn: Draw, annotations: Annotations) -> Annotations:
        """The annotations of the augmented image, with what the teacher says of it."""
        ...


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """As `warnings.showwarning`, into the log."""
    logger.warning("%s", message)


class _Collecting(logging.Handler):
    """Adds warnings to a list, as text."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())


class TrainingSamples(Dataset[Sample]):
    """Draw -> sample; runs in the worker processes."""

    def __init__(
        self,
        dataset: CocoDataset,
        read: ReadImage,
        augmenter: Augmenter,
        attachments: Attachments | None,
        teacher: SampleTeacher | None,
    ) -> None:
        self._dataset = dataset
        self._read = read
        self._augmenter = augmenter
        self._attachments = attachments
        self._teacher = teacher
        self._collected: list[str] = []

    def collect_warnings(self) -> None:
        """Keeps what the package and its libraries warn of in this process, to go with the next sample.

        For worker processes: the one that wants the samples would never hear of it otherwise.
        """
        package = logging.getLogger("ofa_det")
        package.handlers, package.propagate = [_Collecting(self._collected)], False
        warnings.showwarning = _log_warning

    def __getitem__(self, drawn: Draw) -> Sample:
        images, problems = [], []
        for index in drawn.indices:
            image, problem = image_or_grey(self._dataset, index, self._read)
            images.append((image, Annotations.none() if problem else self._annotations(drawn, index)))
            if problem:
                problems.append(problem)
        seed = drawn.seed if self._teacher is None else self._teacher.seed(drawn)
        varied, annotations = self._augmenter(images, resolution=drawn.resolution, seed=seed)
        if self._teacher is not None and not problems:
            annotations = self._teacher.varied(drawn, annotations)
        attached = self._attachments(drawn) if self._attachments else {}
        notes = [f"{problem}; it is taken as grey, without boxes" for problem in problems]
        notes += self._collected
        self._collected.clear()
        return Sample(varied, annotations, attached, notes)

    def _annotations(self, drawn: Draw, index: int) -> Annotations:
        annotations = self._dataset.annotations(index)
        return annotations if self._teacher is None else self._teacher.whole(drawn, index, annotations)


def image_or_grey(dataset: CocoDataset, index: int, read: ReadImage) -> tuple[NDArray[np.uint8], str]:
    """The image, or a grey one of its size and what is wrong with it."""
    try:
        return read(index), ""
    except (ValueError, OSError) as error:
        height, width = dataset.image_size(index)  # Only stated, so it may be anything.
        factor = max(1.0, max(height, width) / _LARGEST_GREY_PX)
        return np.full((math.ceil(height / factor), math.ceil(width / factor), 3), MID_GREY, np.uint8), str(error)
