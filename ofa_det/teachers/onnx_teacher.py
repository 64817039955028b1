"""ONNX detectors as teachers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
        if file.batch_size is None and self._size is not None:
            file = OnnxFile(path, threads=threads)
        self._file = file
        self._decoder = decoder
        self._classes = classes
        self._pool = ThreadPoolExecutor(threads)

    @property
    def categories(self) -> tuple[Category, ...]:
        """Of the file's classes that are used."""
        return self._classes.categories

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        """Detects objects in B images (H, W, 3) RGB.

        Raises:
            ValueError: the file does not run on the images, or tells classes that nothing names.
        """
        if self._file.batch_size is None and self._size is not None:
            return self._detect_together(images, len(images)) if images else []
        step = self._file.batch_size or 1
        groups = [images[first : first + step] for first in range(0, len(images), step)]
        found = self._pool.map(lambda group: self._detect_together(group, step), groups)
        return [detections for group in found for detections in group]

    def _detect_together(self, images: Sequence[NDArray[np.uint8]], batch_size: int) -> list[TeacherDetections]:
        """One run of images, with black ones in the place of those that a fixed batch lacks."""
        placed = [place(image, self._size or image.shape[:2], self._decoder.input) for image in images]
        canvases = np.stack([canvas for canvas, _ in placed])
        if len(images) < batch_size:
            canvases = np.concatenate([canvases, np.zeros((batch_size - len(images), *canvases.shape[1:]), np.uint8)])
        outputs = self._file.run(normalised(canvases, self._decoder.input, self._file.dtype))
        size = canvases.shape[1], canvases.shape[2]
        return [
            self._detections(decode(self._decoder, split_batch(self._decoder, outputs, number), size), placement)
            for number, (_, placement) in enumerate(placed)
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
