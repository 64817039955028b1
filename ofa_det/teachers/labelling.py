"""Runs a teacher over images: decoded beside it, resumable, in shards of the format of the labels themselves."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ofa_det.artefacts.records import check_identity, to_plain
from ofa_det.teachers.image_folder import ImageSource
from ofa_det.teachers.label_file import LabelHeader, TeacherLabels, quantised
from ofa_det.teachers.teacher import Teacher, TeacherDetections
from ofa_det.teachers.views import ViewCutter

if TYPE_CHECKING:
    from ofa_det.data.augmentation import Geometry

logger = logging.getLogger(__name__)

SHARD_IMAGES = 64
"""Images labelled between two writes of the cache: what an interruption may cost."""

_AHEAD = 2
"""Batches that are decoded while the teacher looks at one."""


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """What the teacher is shown of an image: nothing if its pixels cannot be read."""

    index: int
    pixels: tuple[NDArray[np.uint8], ...]
    geometries: tuple[Geometry, ...]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The labels, and how fast they came.

    Args:
        labels: of all images.
        images_per_second: of those that were labelled now; None if all were there.
    """

    labels: TeacherLabels
    images_per_second: float | None


def label_images(
    teacher: Teacher,
    source: ImageSource,
    header: LabelHeader,
    cache: Path,
    *,
    batch_size: int,
    threads: int,
    progress: bool = False,
) -> Labelled:
    """Labels every view of every image.

    Each shard of `SHARD_IMAGES` images is written to `cache` when it is done and not labelled again. Batches do not
    cross shards, so that interrupted and whole labellings give the same bytes.

    Args:
        teacher: labels them.
        source: the images; one whose pixels cannot be decoded is named in a warning and marked.
        header: of the labels.
        cache: folder of the shards.
        batch_size: images or views that the teacher is given at once.
        threads: that decode images.
        progress: show a progress bar.

    Raises:
        ValueError: the cache is of another labelling.
    """
    shards = [range(first, min(first + SHARD_IMAGES, len(source))) for first in range(0, len(source), SHARD_IMAGES)]
    paths = [cache / f"labels-{shard.start:08d}.safetensors" for shard in shards]
    there = [path.exists() for path in paths]
    missing = (index for shard, found in zip(shards, there, strict=True) if not found for index in shard)
    prepare = _Preparation(source, header)
    parts, labelled, boxes = [], 0, 0
    begin = time.perf_counter()
    bar: tqdm[Any] = tqdm(total=len(source), desc="label", unit="image", disable=not progress)
    with ThreadPoolExecutor(threads) as pool, bar:
        prepared = _in_order(pool, prepare, missing, ahead=_AHEAD * batch_size)
        for shard, path, found in zip(shards, paths, there, strict=True):
            if found:
                part = TeacherLabels.read(path)
                check_header(part, header, where=str(path))
                bar.update(len(shard))
            else:
                part = _label_shard(teacher, source, header, islice(prepared, len(shard)), batch_size, bar)
                part.write(path)
                labelled += len(shard)
            parts.append(part)
            boxes += len(part.boxes)
            bar.set_postfix(boxes=boxes)
    speed = labelled / (time.perf_counter() - begin) if labelled else None
    return Labelled(labels=TeacherLabels.joined(parts), images_per_second=speed)


def check_header(labels: TeacherLabels, expected: LabelHeader, *, where: str) -> None:
    """Refuses labels of another labelling.

    Raises:
        ValueError: naming the first difference.
    """
    found, wanted = to_plain(labels.header), to_plain(expected)
    check_identity(found, wanted, where=where, mend="choose another --output")


class _Preparation:
    """Reads an image and cuts its views out; called from several threads."""

    def __init__(self, source: ImageSource, header: LabelHeader) -> None:
        self._source = source
        self._views = header.views
        self._cutter = None if header.augmentation is None else ViewCutter(header.augmentation, header.seed)

    def __call__(self, index: int) -> _Prepared:
        try:
            image = self._source.image(index)
        except (ValueError, OSError) as error:
            logger.warning("no labels for an image that cannot be read: %s", error)
            return _Prepared(index=index, pixels=(), geometries=())
        if self._cutter is None:
            return _Prepared(index=index, pixels=(image,), geometries=())
        from ofa_det.data.augmentation import cut_out

        annotations, size = self._source.annotations(index), (image.shape[0], image.shape[1])
        geometries = tuple(self._cutter.geometry(size, annotations, index, view) for view in range(self._views))
        pixels = tuple(cut_out(image, geometry.window) for geometry in geometries)
        return _Prepared(index=index, pixels=pixels, geometries=geometries)


def _in_order(
    pool: ThreadPoolExecutor, prepare: _Preparation, indices: Iterable[int], *, ahead: int
) -> Iterator[_Prepared]:
    """Prepares images in threads, some ahead of the one that is asked for."""
    waiting = iter(indices)
    futures: deque[Future[_Prepared]] = deque(pool.submit(prepare, index) for index in islice(waiting, ahead))
    while futures:
        found = futures.popleft().result()
        futures.extend(pool.submit(prepare, index) for index in islice(waiting, 1))
        yield found


def _label_shard(
    teacher: Teacher,
    source: ImageSource,
    header: LabelHeader,
    images: Iterable[_Prepared],
    batch_size: int,
    bar: tqdm[Any],
) -> TeacherLabels:
    per_batch = max(1, batch_size // max(1, header.views))
    done: list[tuple[_Prepared, list[TeacherDetections]]] = []
    images = iter(images)
    while group := list(islice(images, per_batch)):
        pixels = [view for image in group for view in image.pixels]
        found: list[TeacherDetections] = []
        for first in range(0, len(pixels), batch_size):
            found += map(header.mapping.apply, teacher.detect(pixels[first : first + batch_size]))
        results = iter(found)
        done += [(image, list(islice(results, len(image.pixels)))) for image in group]
        bar.update(len(group))
    return _pack(source, header, done)


def _pack(
    source: ImageSource, header: LabelHeader, done: Sequence[tuple[_Prepared, Sequence[TeacherDetections]]]
) -> TeacherLabels:
    """The labels of some images as they are stored."""
    categories, views = len(header.mapping.categories), max(1, header.views)
    top = min(header.top_classes, categories)
    counts = np.zeros((len(done), views), np.uint16)
    windows = np.zeros((len(done), header.views, 4), np.int32)
    flips = np.zeros((len(done), header.views, 2), np.uint8)
    boxes, scores = [np.zeros((0, 4), np.uint16)], [np.zeros((0, categories), np.float32)]
    for row, (image, found) in enumerate(done):
        for view, detections in enumerate(found):
            seen = detections.boxes
            if image.geometries:
                geometry = image.geometries[view]
                windows[row, view] = geometry.window
                flips[row, view] = geometry.horizontal_flip, geometry.vertical_flip
                seen = geometry.flipped(seen)
            stored = quantised(seen)
            kept = (stored[:, 2:] > stored[:, :2]).all(axis=1)
            counts[row, view] = kept.sum()
            boxes.append(stored[kept])
            scores.append(detections.scores[kept])
    all_scores = np.concatenate(scores)
    best = np.argsort(-all_scores, axis=1, kind="stable")[:, :top]
    classes = best.astype(np.uint8) if categories <= 256 else best.astype(np.uint16)
    indices = [image.index for image, _ in done]
    return TeacherLabels(
        header=header,
        image_ids=np.array([source.image_id(index) for index in indices], np.int64),
        file_names=tuple(source.file_name(index) for index in indices),
        image_sizes=np.array([source.image_size(index) for index in indices], np.int32).reshape(-1, 2),
        readable=np.array([len(image.pixels) > 0 for image, _ in done], np.uint8),
        counts=counts,
        boxes=np.concatenate(boxes),
        classes=classes,
        scores=np.take_along_axis(all_scores, best, axis=1).astype(np.float16),
        windows=windows,
        flips=flips,
    )


def of_whole_images(header: LabelHeader) -> LabelHeader:
    """The same labelling without stored augmentations."""
    return replace(header, views=0, seed=0, augmentation=None)
