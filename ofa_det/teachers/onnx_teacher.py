"""ONNX detectors as teachers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import parse_json
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import parse_record
from ofa_det.evaluation.onnx import METADATA_KEY, OnnxMetadata
from ofa_det.teachers.classes import TeacherClasses, find_classes
from ofa_det.teachers.decoder import Decoder
from ofa_det.teachers.decoding import Decoded, decode
from ofa_det.teachers.onnx_features import with_feature_maps
from ofa_det.teachers.onnx_file import OnnxFile
from ofa_det.teachers.placing import Placement, normalised, place
from ofa_det.teachers.probing import choose_decoder, split_batch
from ofa_det.teachers.source import TeacherSource
from ofa_det.teachers.teacher import MIN_SCORE, TeacherDetections, suppressed

logger = logging.getLogger(__name__)


class OnnxTeacher:
    """Runs an ONNX detector on the CPU.

    A file that takes any number of images gets them in a batch, one of a fixed number as many as it takes; those run
    beside each other in threads.

    Args:
        path: the file.
        decoder: how it takes images and what its outputs mean.
        classes: of the file.
        threads: CPU threads.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ONNX file, or its input is not of the decoder's format.
    """

    def __init__(self, path: Path, *, decoder: Decoder, classes: TeacherClasses, threads: int) -> None:
        file = OnnxFile(path, threads=1)
        self._size = file.size(decoder.input)
        self._together = file.batch_size is None and self._size is not None
        if self._together:
            file = OnnxFile(path, threads=threads)
        self._file = file
        self._threads = threads
        self._decoder = decoder
        self._classes = classes
        self._pool = ThreadPoolExecutor(threads)
        self._mapped_files: dict[tuple[int, int], tuple[OnnxFile, Mapping[int, str]]] = {}

    @property
    def categories(self) -> tuple[Category, ...]:
        """Of the file's classes that are used."""
        return self._classes.categories

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        """Detects objects in B images (H, W, 3) RGB.

        Raises:
            ValueError: the file does not run on the images, or tells classes that nothing names.
        """
        if not images:
            return []
        step = self._step(len(images))
        groups = [images[first : first + step] for first in range(0, len(images), step)]
        found = self._pool.map(lambda group: self._detect_together(group, step), groups)
        return [detections for group in found for detections in group]

    @property
    def resolution(self) -> int | None:
        """Side of the images that it takes, the longer one, in pixels; None for any."""
        return None if self._size is None else max(self._size)

    def features(self, images: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """The last map of each side that all of its predictions are made from, (B, C, side, side) by side.

        Args:
            images: (B, R, R, 3) RGB.

        Raises:
            ValueError: onnx is not installed, the file takes no square images, or no map is found.
        """
        file, names = self._mapped(images.shape[1])
        step = self._step(len(images))
        groups = [images[first : first + step] for first in range(0, len(images), step)]
        found = list(self._pool.map(lambda group: self._run(file, group, step)[0], groups))
        whole = {name: np.concatenate([outputs[name] for outputs in found]) for name in names.values()}
        return {side: np.asarray(whole[name][: len(images)], np.float32) for side, name in names.items()}

    def _mapped(self, side_px: int) -> tuple[OnnxFile, Mapping[int, str]]:
        """The file that gives maps of images of a side, and their names by side."""
        size = self._size or (side_px, side_px)
        if size not in self._mapped_files:
            if size[0] != size[1]:
                raise ValueError(f"expected square images of {self._file.path} for its features, found {size}")
            content, names = with_feature_maps(self._file.path, self._file.shape(self._decoder.input, size))
            threads = self._threads if self._together else 1
            self._mapped_files[size] = OnnxFile(self._file.path, threads=threads, content=content), names
        return self._mapped_files[size]

    def _step(self, count: int) -> int:
        """Images of a run."""
        return count if self._together else self._file.batch_size or 1

    def _run(
        self, file: OnnxFile, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], batch_size: int
    ) -> tuple[dict[str, NDArray[Any]], list[Placement], tuple[int, int]]:
        """Outputs, where images lie and (height, width); black ones stand for those that a fixed batch lacks."""
        placed = [place(image, self._size or image.shape[:2], self._decoder.input) for image in images]
        canvases = np.stack([canvas for canvas, _ in placed])
        if len(images) < batch_size:
            canvases = np.concatenate([canvases, np.zeros((batch_size - len(images), *canvases.shape[1:]), np.uint8)])
        outputs = file.run(normalised(canvases, self._decoder.input, file.dtype))
        return outputs, [placement for _, placement in placed], (canvases.shape[1], canvases.shape[2])

    def _detect_together(self, images: Sequence[NDArray[np.uint8]], batch_size: int) -> list[TeacherDetections]:
        outputs, placements, size = self._run(self._file, images, batch_size)
        return [
            self._detections(decode(self._decoder, split_batch(self._decoder, outputs, number), size), placement)
            for number, placement in enumerate(placements)
        ]

    def _detections(self, decoded: Decoded, placement: Placement) -> TeacherDetections:
        scores = decoded.scores
        if decoded.labels is not None:
            scores = self._spread(decoded.labels, decoded.scores)
        return suppressed(placement.to_image(decoded.boxes_px), scores[:, self._classes.used])

    def _spread(self, labels: NDArray[np.int64], scores: NDArray[Any]) -> NDArray[np.float32]:
        """(A, classes) of scores (A,) that belong to one class each."""
        count = len(self._classes.columns)
        rows = np.flatnonzero(scores >= MIN_SCORE)
        if len(rows) and not 0 <= labels[rows].min() <= labels[rows].max() < count:
            raise ValueError(
                f"expected classes below {count}, as {self._classes.source} names them, in {self._file.path}, found "
                f"{labels[rows].min()} to {labels[rows].max()}; pass other --labels, or a --decoder with another "
                "first_label"
            )
        spread = np.zeros((len(labels), count), np.float32)
        spread[rows, labels[rows]] = scores[rows]
        return spread


def open_onnx(path: Path, *, decoder: str, labels: str | None, threads: int) -> tuple[OnnxTeacher, TeacherSource]:
    """Opens an `.onnx` detector.

    Args:
        path: the file.
        decoder: YAML file or name of one in `configs/teachers/`; `auto` takes the one of these that fits.
        labels: as of `find_classes`; our own exports know their categories.
        threads: CPU threads.

    Raises:
        FileNotFoundError: no such file, decoder or list of labels.
        ValueError: not an ONNX file, no decoder or several fit, or nothing names its classes.
    """
    file = OnnxFile(path, threads=threads)
    chosen = choose_decoder(file, decoder)
    logger.info(
        "%s: decoder %s; images as %s, %s",
        path.name,
        chosen.name,
        chosen.decoder.input.channels,
        _words(chosen.decoder),
    )
    metadata = file.metadata.get(METADATA_KEY)
    if metadata is not None and labels is None:
        classes = _own_classes(metadata, path)
    else:
        classes = find_classes(path, count=chosen.num_classes, labels=labels)
    teacher = OnnxTeacher(path, decoder=chosen.decoder, classes=classes, threads=threads)
    return teacher, TeacherSource(
        name=path.name, kind="onnx", sha256=model_sha256(path), classes=classes.source, decoder=chosen.decoder
    )


def _words(decoder: Decoder) -> str:
    form = decoder.input
    padding = "the mean" if form.padding is None else form.padding
    resize = f"letterbox ({form.place}, padding {padding})" if form.resize == "letterbox" else "stretched"
    return f"{resize}, mean {list(form.mean)}, std {list(form.std)}"


def _own_classes(metadata: str, path: Path) -> TeacherClasses:
    """The classes that an export of ours names."""
    where = f"metadata {METADATA_KEY!r} of {path}"
    content = parse_record(parse_json(metadata, where=where), OnnxMetadata, where=where)
    pairs = zip(content.class_category_ids, content.class_names, strict=True)
    return TeacherClasses(columns=tuple(Category(id=id_, name=name) for id_, name in pairs), source=str(path))
