"""What a teacher is, as its labels state it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ofa_det.teachers.decoder import Decoder


@dataclass(frozen=True, kw_only=True)
class TeacherSource:
    """One detector.

    Args:
        name: of its file or folder; of torchvision's, architecture and weights.
        kind: what runs it.
        sha256: of its weights.
        classes: where the names of its classes come from.
        decoder: of an ONNX file.
    """

    name: str
    kind: Literal["onnx", "tflite", "run_folder", "torchvision"]
    sha256: str
    classes: str
    decoder: Decoder | None = None
