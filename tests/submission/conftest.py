from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa_det.artefacts.manifest import MANIFEST_FILE, AccuracyEntry, Manifest
from ofa_det.artefacts.model_file import CONFIG_FILE, MODEL_FILE
from ofa_det.artefacts.records import to_yaml, write_record
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.submission.config import PackageConfig
from ofa_det.submission.packaging import Submission, package
from ofa_det.teachers.label_file import LABELS_NAME, LabelHeader, TeacherLabels
from ofa_det.teachers.mapping import CategoryMapping
from ofa_det.teachers.source import TeacherSource

CATEGORY_IDS = (2, 5, 11, 24)


@pytest.fixture
def data(tiny_root: Path) -> DataConfig:
    return DataConfig(root=str(tiny_root))


@pytest.fixture
def packaged(data: DataConfig, tmp_path: Path) -> Callable[..., Submission]:
    """Packages a model of constants, which finds hardly anything."""

    def run(model: Path, **changes: object) -> Submission:
        options = {"model": str(model), "name": "duck", "output": str(tmp_path / "out"), "data": data, "least_ap": 0.0}
        return package(PackageConfig(**{**options, **changes}), progress=False)

    return run


@pytest.fixture
def model(write_detector) -> Path:
    """Finds a circle (2) in the middle of every image, and less surely squares (5)."""
    columns = [[0.0] * 24, [0.0] * 24]
    columns[0][1], columns[1][4] = 0.6, 0.4
    return write_detector([[0.5, 0.5, 0.5, 0.5], [0.3, 0.6, 0.4, 0.4]], columns)


@pytest.fixture
def measured_manifest(model, data, write_manifest) -> Manifest:
    """The manifest beside `model`, with the AP that it has."""
    ids = [id_ if id_ in CATEGORY_IDS else None for id_ in range(1, 25)]
    record = score(TfliteDetector(model), open_split(data, "val")).record
    manifest = replace(
        write_manifest(model, *ids),
        accuracy=AccuracyEntry(
            images_sha256=open_split(data, "val").fingerprint(), before=record, after=record, ap_change=0.0
        ),
        export={"format": "tflite-int8", "verify": "full", "verification_images": 100},
    )
    write_record(model.with_name(MANIFEST_FILE), manifest)
    return manifest


@pytest.fixture
def teacher_labels(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes the labels of a teacher of that name and licence, of one image without boxes; gives their folder."""

    def write(name: str, licence: str) -> str:
        header = LabelHeader(
            teacher=(TeacherSource(name=f"{name}.onnx", kind="onnx", sha256="f00d", classes="names"),),
            licence=licence,
            mapping=CategoryMapping(categories=(), columns=(), dropped=(), missing=()),
            images_sha256="",
            views=0,
            seed=0,
            augmentation=None,
            top_classes=1,
        )
        labels = TeacherLabels(
            header=header,
            image_ids=np.array([1], np.int64),
            file_names=("a.jpg",),
            image_sizes=np.ones((1, 2), np.int32),
            readable=np.ones(1, np.uint8),
            counts=np.zeros((1, 1), np.uint16),
            boxes=np.zeros((0, 4), np.uint16),
            classes=np.zeros((0, 0), np.uint8),
            scores=np.zeros((0, 0), np.float16),
            windows=np.zeros((1, 0, 4), np.int32),
            flips=np.zeros((1, 0, 2), np.uint8),
        )
        labels.write(tmp_path / name / LABELS_NAME)
        return str(tmp_path / name)

    return write


@pytest.fixture
def tiny_run(tmp_path: Path) -> Callable[[str, Mapping[str, Any]], str]:
    """Writes a run folder whose weights are only hashed; gives its path."""

    def write(name: str, config: Mapping[str, Any]) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / MODEL_FILE).write_bytes(name.encode())
        (folder / CONFIG_FILE).write_text(to_yaml(config))
        return str(folder)

    return write
