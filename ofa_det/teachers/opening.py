"""Opens a teacher of any kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ofa_det.models.accelerator import checked_accelerator
from ofa_det.teachers.decoder import AUTO
from ofa_det.teachers.source import TeacherSource
from ofa_det.teachers.teacher import Teacher

_TORCHVISION = "torchvision:"


@dataclass(frozen=True, kw_only=True)
class OpenedTeacher:
    """A teacher, and what it is made of.

    Args:
        teacher: that detects.
        sources: its detectors, one or those of an ensemble.
    """

    teacher: Teacher
    sources: tuple[TeacherSource, ...]


def open_teacher(
    specification: str,
    *,
    decoder: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
    threads: int = 0,
    accelerator: str = "cpu",
) -> OpenedTeacher:
    """Opens an .onnx or .tflite file, a run folder of ours, torchvision:NAME, or several of them as an ensemble.

    Args:
        specification: one, or several with commas between. The other options are then for all of them, or have as many
            parts with commas between, of which one may be empty.
        decoder: of ONNX files, see `choose_decoder`; by default `auto`.
        labels: names of the classes, see `find_classes`.
        weights: file for torchvision:NAME.
        threads: CPU threads of ONNX and TFLite; 0 takes all cores.
        accelerator: torch device of run folders and torchvision; the others run on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a detector that can be run.
    """
    names = [name.strip() for name in specification.split(",")]
    options = [_of_each(value, len(names), name) for name, value in _named(decoder, labels, weights)]
    count = threads or len(os.sched_getaffinity(0))
    members = [
        _open(name, decoder=one[0] or AUTO, labels=one[1], weights=one[2], threads=count, accelerator=accelerator)
        for name, *one in zip(names, *options, strict=True)
    ]
    sources = tuple(source for _, source in members)
    if len(members) == 1:
        return OpenedTeacher(teacher=members[0][0], sources=sources)
    from ofa_det.teachers.ensemble import EnsembleTeacher

    return OpenedTeacher(teacher=EnsembleTeacher([teacher for teacher, _ in members]), sources=sources)


def _named(decoder: str | None, labels: str | None, weights: str | None) -> list[tuple[str, str | None]]:
    return [("decoder", decoder), ("labels", labels), ("weights", weights)]


def _of_each(value: str | None, count: int, name: str) -> Sequence[str | None]:
    """The part of an option that is each member's."""
    parts = [part.strip() or None for part in (value or "").split(",")]
    if len(parts) == 1:
        return parts * count
    if len(parts) != count:
        raise ValueError(f"expected --{name} for each of {count} teachers, found {len(parts)}")
    return parts


def _open(
    name: str, *, decoder: str, labels: str | None, weights: str | None, threads: int, accelerator: str
) -> tuple[Teacher, TeacherSource]:
    # Imported where they are needed: a machine need not have every runtime.
    if name.startswith(_TORCHVISION):
        from ofa_det.teachers.torch_teachers import open_torchvision

        device = checked_accelerator(accelerator)
        return open_torchvision(name.removeprefix(_TORCHVISION), weights=weights, labels=labels, accelerator=device)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(
            f"expected an .onnx or .tflite file, a run folder or torchvision:NAME, found nothing at {path}"
        )
    if path.is_dir():
        from ofa_det.teachers.torch_teachers import open_run_folder

        return open_run_folder(path, accelerator=checked_accelerator(accelerator))
    if path.suffix == ".onnx":
        from ofa_det.teachers.onnx_teacher import open_onnx

        return open_onnx(path, decoder=decoder, labels=labels, threads=threads)
    if path.suffix == ".tflite":
        from ofa_det.teachers.tflite_teacher import open_tflite

        return open_tflite(path, labels=labels, threads=threads)
    raise ValueError(f"expected an .onnx or .tflite file, a run folder or torchvision:NAME, found {path}")
