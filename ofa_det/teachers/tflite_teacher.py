"""`.tflite` detectors that end in TFLite_Detection_PostProcess, as teachers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import Category
from ofa_det.artefacts.manifest import MANIFEST_FILE, read_manifest
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP, read_attributes
from ofa_det.artefacts.tflite_content import op_name, read_tables
from ofa_det.data.images import stretch
from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.teachers.classes import TeacherClasses, find_classes
from ofa_det.teachers.source import TeacherSource
from ofa_det.teachers.teacher import TeacherDetections, suppressed


class TfliteTeacher:
    """Runs a `.tflite` detector on the CPU; it tells the class of each box alone.

    Args:
        path: the file.
        categories: of its detections; those of other ids are dropped.
        threads: interpreters that run beside each other, each in one thread.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a detector.
    """

    def __init__(self, path: Path, *, categories: Sequence[Category], threads: int) -> None:
        self._categories = tuple(categories)
        self._detectors: SimpleQueue[TfliteDetector] = SimpleQueue()
        for _ in range(threads):
            self._detectors.put(TfliteDetector(path))
        self._pool = ThreadPoolExecutor(threads)

    @property
    def categories(self) -> tuple[Category, ...]:
        """As given."""
        return self._categories

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        """Detects objects in B images (H, W, 3) RGB, which are stretched."""
        return list(self._pool.map(self._detect_one, images))

    def _detect_one(self, image: NDArray[np.uint8]) -> TeacherDetections:
        detector = self._detectors.get()
        try:
            (found,) = detector.predict(stretch(image, detector.input_size)[None])
        finally:
            self._detectors.put(detector)
        ids = np.array([category.id for category in self._categories], np.int64)
        rows, columns = np.nonzero(found.category_ids[:, None] == ids)
        scores = np.zeros((len(rows), len(ids)), np.float32)
        scores[np.arange(len(rows)), columns] = found.scores[rows].clip(0, 1)
        return suppressed(found.boxes[rows], scores)


def open_tflite(path: Path, *, labels: str | None, threads: int) -> tuple[TfliteTeacher, TeacherSource]:
    """Opens a `.tflite` detector.

    Args:
        path: the file. A manifest beside it, as our exports have, tells its classes.
        labels: as of `find_classes`, for a file without manifest; class k is line k, without a background.
        threads: CPU threads.

    Raises:
        FileNotFoundError: no such file or list of labels.
        ValueError: not such a detector, or nothing names its classes.
    """
    TfliteDetector(path)  # Refuses what is none, before anything else is looked for.
    manifest = read_manifest(path)
    if manifest is not None:
        if labels is not None:
            raise ValueError(
                f"expected no --labels, since {MANIFEST_FILE} beside {path} names the classes, found {labels}"
            )
        classes = TeacherClasses(columns=manifest.network.categories, source=str(path.with_name(MANIFEST_FILE)))
        categories = classes.categories
    else:
        classes = find_classes(path, count=_num_classes(path), labels=labels)
        # Without a manifest the detector gives class k the id k + 1, whatever it is called.
        named = zip(classes.used.tolist(), classes.categories, strict=True)
        categories = tuple(Category(id=index + 1, name=category.name) for index, category in named)
    source = TeacherSource(name=path.name, kind="tflite", sha256=model_sha256(path), classes=classes.source)
    return TfliteTeacher(path, categories=categories, threads=threads), source


def _num_classes(path: Path) -> int:
    """As the op states them, without a background."""
    model = read_tables(path.read_bytes(), where=str(path))
    for op in model.subgraphs[0].operators:
        if op_name(model.operatorCodes[op.opcodeIndex]) == POSTPROCESS_OP:
            return int(read_attributes(op)["num_classes"])
    raise AssertionError(f"the detector has been found to end in {POSTPROCESS_OP}")
