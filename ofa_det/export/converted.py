"""What a converter gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ofa_det.arch.classes import ClassColumns
from ofa_det.arch.plan import LayerPlan
from ofa_det.artefacts.manifest import QuantizationEntry, TensorEntry

MODEL_FILES = ("model.tflite", "model.onnx")


@dataclass(frozen=True, kw_only=True)
class ConvertedModel:
    """A file's content and what the manifest says of it.

    Args:
        file_name: one of `MODEL_FILES`.
        content: the file.
        columns: its classes.
        plan: its layers, before post-processing.
        input, outputs, quantization, verification: as in the manifest.
    """

    file_name: str
    content: bytes
    columns: ClassColumns
    plan: LayerPlan
    input: TensorEntry
    outputs: tuple[TensorEntry, ...]
    quantization: QuantizationEntry | None
    verification: Mapping[str, float]
