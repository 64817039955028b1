"""Which trainings led to a file, and which teachers spoke in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa_det.artefacts.manifest import Manifest
from ofa_det.artefacts.model_file import CONFIG_FILE, MODEL_FILE, model_sha256
from ofa_det.artefacts.records import read_yaml
from ofa_det.teachers.label_file import TeacherLabels

logger = logging.getLogger(__name__)

NO_LICENCE = "not stated"
"""Of a teacher whose labels name none."""


@dataclass(frozen=True, kw_only=True)
class TrainingEntry:
    """One training.

    Args:
        run_folder: of its result.
        role: of that in the next training, or `exported`.
        weights_sha256: of it; empty where the folder is gone.
        seed: of the training.
        config_file: its complete configuration in the submission's folder; empty where the folder is gone.
    """

    run_folder: str
    role: str
    weights_sha256: str
    seed: int | None
    config_file: str


@dataclass(frozen=True, kw_only=True)
class TeacherEntry:
    """A teacher whose labels a training used.

    Args:
        name: of its file, folder, or torchvision's.
        kind: what ran it.
        sha256: of its weights.
        licence: of it, as the user stated it when it labelled, or `not stated`.
        labels: folder of its labels.
        run_folder: of the training that used them.
    """

    name: str
    kind: str
    sha256: str
    licence: str
    labels: str
    run_folder: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a file comes from.

    Args:
        trainings: the last first.
        teachers: in the order of the trainings.
        configs: content of each training's configuration, by name of the file.
    """

    trainings: tuple[TrainingEntry, ...] = ()
    teachers: tuple[TeacherEntry, ...] = ()
    configs: Mapping[str, Mapping[str, Any]]


def provenance(manifest: Manifest | None) -> Provenance:
    """Follows the run folders that a file's training started from, as far as they are still there.

    Raises:
        ValueError: a training used a teacher whose labels are no longer there, so that neither its name nor its licence
            could be given.
    """
    if manifest is None:
        return Provenance(configs={})
    trainings: list[TrainingEntry] = []
    teachers: list[TeacherEntry] = []
    configs: dict[str, Mapping[str, Any]] = {}
    source = manifest.source
    waiting = [(source.run_folder, "exported", source.weights_sha256, dict(source.config))]
    seen: set[str] = set()
    while waiting:
        folder, role, sha256, config = waiting.pop(0)
        if folder in seen:
            continue
        seen.add(folder)
        file_name = f"train_{len(trainings)}_{Path(folder).name}.yaml" if config else ""
        if config:
            configs[file_name] = config
        seed = config.get("seed")
        trainings.append(
            TrainingEntry(
                run_folder=folder,
                role=role,
                weights_sha256=sha256,
                seed=seed if isinstance(seed, int) else None,
                config_file=file_name,
            )
        )
        teachers += [entry for labels in _labels(config) for entry in _teachers(labels, folder)]
        waiting += [(before, role, *_run(before)) for before, role in _started_from(config)]
    return Provenance(trainings=tuple(trainings), teachers=tuple(teachers), configs=configs)


def _started_from(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Run folders that a training starts from, and what they are to it."""
    sections = [config.get(name) for name in ("quantize", "low_rank")]
    detectors = [("detector", section.get("detector")) for section in sections if isinstance(section, Mapping)]
    for role, value in (*detectors, ("supernet", config.get("supernet")), ("start", _run_of(config))):
        if isinstance(value, str):
            yield value, role


def _run_of(config: Mapping[str, Any]) -> str | None:
    """The run folder among what weights can start from; published weights are no training of ours."""
    pretrained = config.get("pretrained")
    return pretrained if isinstance(pretrained, str) and (Path(pretrained) / MODEL_FILE).is_file() else None


def _run(folder: str) -> tuple[str, dict[str, Any]]:
    """Hash and configuration of a run folder, empty where it is gone."""
    path = Path(folder)
    if not (path / MODEL_FILE).is_file():
        logger.warning("the run folder %s that a training started from is gone; the package names it only", folder)
        return "", {}
    config = read_yaml(path / CONFIG_FILE) if (path / CONFIG_FILE).is_file() else {}
    return model_sha256(folder), dict(config)


def _labels(config: Mapping[str, Any]) -> Iterator[str]:
    teacher = config.get("teacher")
    if not isinstance(teacher, Mapping):
        return
    folders = [teacher.get("labels"), *(entry.get("labels") for entry in teacher.get("unlabelled") or ())]
    yield from dict.fromkeys(folder for folder in folders if isinstance(folder, str))


def _teachers(labels: str, run_folder: str) -> list[TeacherEntry]:
    try:
        header = TeacherLabels.read(labels).header
    except FileNotFoundError as error:
        raise ValueError(
            f"expected the teacher's labels that {run_folder} was trained with in {labels}, whose teacher and licence "
            "the card has to name, found none; bring them back"
        ) from error
    if not header.licence:
        logger.warning(
            "the labels in %s state no licence of their teacher; label with --licence, build with --teacher_licence",
            labels,
        )
    return [
        TeacherEntry(
            name=source.name,
            kind=source.kind,
            sha256=source.sha256,
            licence=header.licence or NO_LICENCE,
            labels=labels,
            run_folder=run_folder,
        )
        for source in header.teacher
    ]
