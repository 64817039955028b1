"""What a converter is told, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import ClassColumns, ClassNumbering
from ofa_det.arch.plan import LayerPlan
from ofa_det.artefacts.manifest import QuantizationEntry, TensorEntry
from ofa_det.export.config import EndingConfig
from ofa_det.export.formats import FORMATS, ExportFormat, FormatRecord, InputType
from ofa_det.export.layer_noise import LayerNoise
from ofa_det.models.activation_ranges import RangeRule
from ofa_det.models.fake_quantization import Ranges


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a file is made; see `ExportConfig`.

    Args:
        format, input_type, classes, ending: of the file.
        range_rule: of an int8 file whose ranges are calibrated.
        trained_ranges: those of an int8 file whose ranges were trained.
    """

    format: ExportFormat
    input_type: InputType | None = None
    classes: ClassNumbering = "competition"
    ending: EndingConfig = field(default_factory=EndingConfig)
    range_rule: RangeRule = "mse"
    trained_ranges: Ranges | None = None

    @property
    def record(self) -> FormatRecord:
        """What the format is."""
        return FORMATS[self.format]

    @property
    def input(self) -> InputType:
        """Type of the file's input, the default resolved."""
        return self.input_type or self.record.input_types[0]


@dataclass(frozen=True, kw_only=True)
class ConvertedModel:
    """A file's content and what the manifest says of it.

    Args:
        file_name: as its format has it.
        content: the file.
        columns: its classes.
        plan: its layers, before post-processing.
        input, outputs, quantization, verification: as in the manifest.
        layers: the noise of each layer of an int8 file, the worst first.
        anchors: (A, 4) (cx, cy, w, h), of a file that leaves decoding to others.
    """

    file_name: str
    content: bytes
    columns: ClassColumns
    plan: LayerPlan
    input: TensorEntry
    outputs: tuple[TensorEntry, ...]
    quantization: QuantizationEntry | None
    verification: Mapping[str, float]
    layers: Sequence[LayerNoise] = ()
    anchors: NDArray[np.float32] | None = None
