"""Stored augmentations: which part of an image a view is, the same when it is labelled and when it is trained on.

After Dataset Reinforcement (Faghri et al. 2023): a teacher labels a fixed set of augmentations once, and training draws
from these.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ofa_det.data.annotations import Annotations
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import spread

if TYPE_CHECKING:
    from ofa_det.data.augmentation import Geometry
    from ofa_det.teachers.label_file import TeacherLabels

_STREAM = 3  # Tells these seeds from what else is made of a run's seed.


def view_seed(seed: int, image: int, view: int) -> int:
    """Seed of the augmentation that a view is.

    Args:
        seed: of the labels.
        image: row of the image in the labels.
        view: from 0.
    """
    return int(np.random.SeedSequence((seed, image, view, _STREAM)).generate_state(1, np.uint64)[0])


def geometry_of(augmentation: AugmentationConfig) -> AugmentationConfig:
    """The augmentation without its colours, which a teacher does not see and training may choose.

    Raises:
        ValueError: a mosaic, which has no view of one image, or reduced decoding, whose windows are others.
    """
    if augmentation.mosaic > 0:
        raise ValueError(f"expected augmentation.mosaic 0 with stored views, found {augmentation.mosaic:g}")
    if augmentation.reduced_decoding:
        raise ValueError("expected augmentation.reduced_decoding false with stored views, found true")
    return replace(augmentation, colour_jitter=0.0, hue_jitter=0.0)


class ViewCutter:
    """Cuts views out of images, for several threads at once.

    Args:
        augmentation: how they are varied.
        seed: of the labels.
    """

    def __init__(self, augmentation: AugmentationConfig, seed: int) -> None:
        # Imported this late since albumentations takes seconds to load.
        from ofa_det.data.augmentation import Augmenter

        self._augmenter = Augmenter(augmentation)
        self._seed = seed
        self._lock = threading.Lock()

    def geometry(self, image_size: tuple[int, int], annotations: Annotations, image: int, view: int) -> Geometry:
        """What a view is.

        Args:
            image_size: (height, width) of the image as read, in pixels.
            annotations: its boxes.
            image: row of the image in the labels.
            view: from 0.
        """
        seed = view_seed(self._seed, image, view)
        with self._lock:
            return self._augmenter.geometry(image_size, annotations, seed=seed)


def check_views(
    labels: TeacherLabels,
    dataset: CocoDataset,
    rows: NDArray[np.int64],
    augmentation: AugmentationConfig,
    *,
    images: int = 16,
) -> None:
    """Refuses training whose samples would not be the views that were labelled.

    Args:
        labels: with stored views.
        dataset: that is trained on.
        rows: of its images in the labels.
        augmentation: that training varies images with; its colours are its own.
        images: so many, spread over the data set, have their windows and flips drawn again and compared.

    Raises:
        ValueError: another augmentation, or other windows, as of a data set whose boxes were changed.
    """
    stored, wanted = labels.header.augmentation, geometry_of(augmentation)
    if stored is None:
        raise ValueError("expected labels with stored views, found labels of whole images; pass --views when labelling")
    for name, value in vars(stored).items():
        if getattr(wanted, name) != value:
            raise ValueError(
                f"expected augmentation.{name} {value}, with which the views were labelled, found "
                f"{getattr(wanted, name)}; train with it, or label anew"
            )
    cutter = ViewCutter(stored, labels.header.seed)
    for index in spread(len(dataset), images):
        row = int(rows[index])
        if not labels.readable[row]:
            continue
        size = dataset.image(index).shape[:2]
        for view in range(labels.num_views):
            found = cutter.geometry((size[0], size[1]), dataset.annotations(index), row, view)
            flips = found.horizontal_flip, found.vertical_flip
            if found.window != tuple(labels.windows[row, view].tolist()) or flips != tuple(
                labels.flips[row, view].astype(bool).tolist()
            ):
                raise ValueError(
                    f"expected view {view} of {dataset.file_name(index)} as it was labelled, found another window; "
                    "were its boxes changed? label that data set anew"
                )
