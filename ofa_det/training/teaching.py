"""A teacher's stored labels in training, which runs no teacher."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ofa_det.data.annotations import Annotations
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.draws import Draw
from ofa_det.data.samples import Attachments
from ofa_det.data.teaching import TeachingConfig, taught
from ofa_det.teachers.feature_file import StoredFeatures
from ofa_det.teachers.label_file import TeacherLabels
from ofa_det.teachers.mapping import map_categories
from ofa_det.teachers.views import check_views, view_seed
from ofa_det.training.step import FEATURES

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class UnlabelledConfig:
    """Images that nobody has annotated.

    Args:
        images: their folder.
        labels: a teacher's labels of them, see label_with_teacher.
    """

    images: str
    labels: str


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(TeachingConfig):
    """A teacher's stored labels and how far they are believed.

    Args:
        labels: of the training images, see label_with_teacher; without them the annotations teach alone. Labels of
            stored views fix the windows and flips of training.
        unlabelled: images to train on beside those of the data set.
        unlabelled_share: of the images drawn, 0 to below 1.
        min_score: boxes that the teacher scores less are not read.
        feature_weight: factor of the imitation of the teacher's feature maps, which lie beside its labels; 0 leaves
            them unread.
        in_closing_phase: whether it still speaks in the closing phase, of the images that are annotated.
    """

    labels: str | None = None
    unlabelled: tuple[UnlabelledConfig, ...] = ()
    unlabelled_share: float = 0.3
    min_score: float = 0.05
    feature_weight: float = 0.0
    in_closing_phase: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.unlabelled_share < 1:
            raise ValueError(f"expected 0 < unlabelled_share < 1, found {self.unlabelled_share}")
        if self.feature_weight < 0:
            raise ValueError(f"expected feature_weight >= 0, found {self.feature_weight}")
        if self.feature_weight > 0 and self.labels is None:
            raise ValueError("expected teacher.labels with teacher.feature_weight, found none")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"expected 0 <= min_score <= 1, found {self.min_score}")


class _Source(NamedTuple):
    """Whose labels, and which of their categories mean each of the data set's; the best score counts."""

    labels: TeacherLabels
    columns: tuple[tuple[int, ...], ...]


class StoredTeacher:
    """Adds stored labels to the annotations of training samples.

    Args:
        config: how far they are believed.
        sources: labels and their columns.
        source_of: (N,) which source speaks of each image of the training set, -1 for none.
        row_of: (N,) the image's row in it.
        num_labelled: the first so many images are annotated.
    """

    def __init__(
        self,
        config: TeacherConfig,
        sources: Sequence[_Source],
        source_of: NDArray[np.int64],
        row_of: NDArray[np.int64],
        num_labelled: int,
    ) -> None:
        self._config = config
        self._sources = sources
        self._source_of = source_of
        self._row_of = row_of
        self._num_labelled = num_labelled

    def seed(self, drawn: Draw) -> int:
        """The draw's own, or that of the view that it draws."""
        source = self._of_views(drawn)
        if source is None:
            return drawn.seed
        row = int(self._row_of[drawn.indices[0]])
        return view_seed(source.labels.header.seed, row, drawn.seed % source.labels.num_views)

    def whole(self, drawn: Draw, index: int, annotations: Annotations) -> Annotations:
        """With what the teacher says of the whole image, if it has seen that."""
        source = self._source(index)
        if source is None or source.labels.header.views or not self._speaks(drawn, index):
            return annotations
        return self._taught(source, index, 0, annotations)

    def varied(self, drawn: Draw, annotations: Annotations) -> Annotations:
        """With what the teacher says of this view, if it has seen views."""
        source = self._of_views(drawn)
        index = drawn.indices[0]
        if source is None or not self._speaks(drawn, index):
            return annotations
        return self._taught(source, index, drawn.seed % source.labels.num_views, annotations)

    def _speaks(self, drawn: Draw, index: int) -> bool:
        return self._config.in_closing_phase or drawn.phase != "closing" or index >= self._num_labelled

    def _taught(self, source: _Source, index: int, view: int, annotations: Annotations) -> Annotations:
        stored = source.labels.of(int(self._row_of[index]), view, score_threshold=self._config.min_score)
        known = stored.class_scores(len(source.labels.categories))
        scores = np.stack([known[:, list(c)].max(axis=1, initial=0) for c in source.columns], axis=1)
        kept = scores.max(axis=1, initial=0) > 0
        return taught(annotations, stored.boxes[kept], scores[kept], self._config, labelled=index < self._num_labelled)

    def _source(self, index: int) -> _Source | None:
        number = int(self._source_of[index])
        return None if number < 0 else self._sources[number]

    def _of_views(self, drawn: Draw) -> _Source | None:
        source = self._source(drawn.indices[0])
        return source if source is not None and source.labels.header.views else None


class _Features:
    """Attaches a teacher's maps of the view that is drawn.

    Args:
        stored: of the annotated images.
        row_of: (N,) their rows.
    """

    def __init__(self, stored: StoredFeatures, row_of: NDArray[np.int64]) -> None:
        self._stored = stored
        self._row_of = row_of

    def __call__(self, drawn: Draw) -> Mapping[str, NDArray[Any]]:
        index = drawn.indices[0]
        if index >= len(self._row_of):
            return {}
        view = drawn.seed % self._stored.header.labels.views
        maps = self._stored.of(int(self._row_of[index]), view)
        return {f"{FEATURES}{stride}": values for stride, values in maps.items()}


class TaughtImages(NamedTuple):
    """Training images with what a teacher says of them.

    Args:
        dataset: the annotated images, then the others.
        teacher: None if there is none.
        features: its maps; None if they are not imitated.
        num_labelled: annotated images.
    """

    dataset: CocoDataset
    teacher: StoredTeacher | None
    features: Attachments | None
    num_labelled: int


def open_taught(config: TeacherConfig, augmentation: AugmentationConfig, dataset: CocoDataset) -> TaughtImages:
    """Opens a teacher's labels, and the images that only it has labelled.

    Args:
        config: what there is.
        augmentation: that training varies images with.
        dataset: the annotated training images.

    Raises:
        FileNotFoundError: no such labels.
        ValueError: labels of other images, categories or views, or a missing image.
    """
    count = len(dataset)
    if config.labels is None and not config.unlabelled:
        return TaughtImages(dataset, None, None, count)
    sources: list[_Source] = []
    features: _Features | None = None
    source_of, row_of = [np.full(count, -1)], [np.zeros(count, np.int64)]
    if config.labels is not None:
        labels = TeacherLabels.read(config.labels)
        row_of[0], source_of[0] = labels.rows_of(dataset), np.zeros(count, np.int64)
        if labels.header.views:
            check_views(labels, dataset, row_of[0], augmentation)
        sources.append(_Source(labels, tuple((label,) for label in range(len(dataset.categories)))))
        if config.feature_weight > 0:
            features = _Features(StoredFeatures.read(config.labels, labels.header), row_of[0])
    joined = dataset
    for unlabelled in config.unlabelled:
        labels = TeacherLabels.read(unlabelled.labels)
        rows = np.flatnonzero(labels.readable)
        names = [labels.file_names[row] for row in rows]
        joined = joined.joined_by(unlabelled.images, names, labels.image_sizes[rows].astype(np.int64))
        if labels.header.views:
            check_views(labels, joined.subset(np.arange(len(joined) - len(rows), len(joined))), rows, augmentation)
        mapping = map_categories(labels.categories, dataset.categories)
        mapping.log()
        source_of.append(np.full(len(rows), len(sources)))
        row_of.append(rows)
        sources.append(_Source(labels, mapping.columns))
        logger.info("%d images without annotations from %s", len(rows), unlabelled.images)
    teacher = StoredTeacher(config, sources, np.concatenate(source_of), np.concatenate(row_of), count)
    return TaughtImages(joined, teacher, features, count)


def with_share(factors: NDArray[np.float64], num_labelled: int, share: float) -> NDArray[np.float64]:
    """Repeat factors by which images without annotations make up a share of the draws.

    Args:
        factors: (N,) at least 1, of annotated images and then the others.
        num_labelled: annotated images.
        share: of the others, above 0 and below 1.

    Returns:
        (N,) at least 1.
    """
    labelled, others = factors[:num_labelled], factors[num_labelled:]
    ratio = share / (1 - share) * labelled.sum() / others.sum()
    return np.concatenate([labelled * max(1.0, 1 / ratio), others * max(1.0, ratio)])
