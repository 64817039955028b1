"""TensorFlow Lite Metadata and a signature: what a file takes and gives, for Task Library, MediaPipe and LiteRT.

The tables are those of `metadata_schema.fbs` of TensorFlow Lite Support, version 1.2.0. The labels are packed behind
the model as a zip archive, where its readers look for them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ofa_det.artefacts.manifest import LABELS_FILE
from ofa_det.artefacts.tflite_content import read_tables, write_tables
from ofa_det.detection.preprocessing import PIXEL_MEAN, PIXEL_SCALE
from ofa_det.export.flat_table import Field, Number, Numbers, Table, table_bytes

METADATA_NAME: Final = "TFLITE_METADATA"
IDENTIFIER: Final = b"M001"
PARSER_VERSION: Final = "1.2.0"
"""The first that knows groups of tensors."""

SIGNATURE_KEY: Final = "serving_default"
SIGNATURE_INPUT: Final = "images"
DETECTION_SIGNATURE: Final = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
"""As the detectors of the TF model zoo name them."""

_FILE_DATE: Final = (1980, 1, 1, 0, 0, 0)  # The same file each time.
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_FEATURE, _IMAGE, _BOXES = 1, 2, 3
_NORMALIZATION, _THRESHOLDING = 1, 3
_RGB, _BOUNDARIES, _RATIO = 1, 1, 0

# Where left, top, right and bottom stand in (ymin, xmin, ymax, xmax).
_LEFT_TOP_RIGHT_BOTTOM = (1, 0, 3, 2)


@dataclass(frozen=True, kw_only=True)
class FileMetadata:
    """What a file says of itself.

    Args:
        name, description: of the model.
        labels: content of the label file; line k (from 0) names class k.
        kind: what the outputs are: detections, raw outputs of a detector, or probabilities of a classifier.
        signature_outputs: names of the outputs, in the file's order.
        score_threshold: below which nothing is given; of detections.
        quantized_input: whether the input is 8 bits.
    """

    name: str
    description: str
    labels: str
    kind: Literal["detections", "raw", "probabilities"]
    signature_outputs: Sequence[str]
    score_threshold: float = 0.0
    quantized_input: bool


def with_metadata(content: bytes, metadata: FileMetadata) -> bytes:
    """A file with metadata, signature and packed labels; its tensors and operators stay as they are.

    Args:
        content: flatbuffer of one input and as many outputs as the signature names.
        metadata: what to say.

    Raises:
        ValueError: another number of outputs.
    """
    model = read_tables(content, where="the converted file")
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != len(metadata.signature_outputs):
        raise ValueError(
            f"expected one input and {len(metadata.signature_outputs)} outputs, found {len(graph.inputs)} and "
            f"{len(graph.outputs)}"
        )
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(table_bytes(_model(metadata), IDENTIFIER), np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers) - 1
    model.metadata = [other for other in model.metadata or [] if other.name != METADATA_NAME.encode()] + [entry]
    model.description = metadata.description
    model.signatureDefs = [_signature(graph, metadata)]
    packed = io.BytesIO(write_tables(model))
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, _FILE_DATE), metadata.labels)
    return packed.getvalue()


def _signature(graph: Any, metadata: FileMetadata) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE_KEY, 0
    signature.inputs = [_named(SIGNATURE_INPUT, graph.inputs[0])]
    pairs = zip(metadata.signature_outputs, graph.outputs, strict=True)
    signature.outputs = [_named(name, tensor) for name, tensor in pairs]
    return signature


def _named(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(tensor)
    return entry


def _model(metadata: FileMetadata) -> Table:
    subgraph: dict[int, Field] = {2: [_image(metadata)], 3: _outputs(metadata)}
    if metadata.kind == "detections":
        group = Table(2, {0: "detection_result", 1: ["location", "category", "score"]})
        subgraph[8] = [group]
    return Table(
        8,
        {
            0: metadata.name,
            1: metadata.description,
            3: [Table(10, subgraph)],
            7: PARSER_VERSION,
        },
    )


def _image(metadata: FileMetadata) -> Table:
    """Quantized files state the normalisation of the float one too, and the range of what they are given."""
    lowest, highest = (0.0, 255.0)
    if not metadata.quantized_input:
        lowest, highest = ((value - PIXEL_MEAN) / PIXEL_SCALE for value in (lowest, highest))
    normalisation = Table(2, {0: Numbers([PIXEL_MEAN], "float32"), 1: Numbers([PIXEL_SCALE], "float32")})
    properties = Table(2, {0: Number(_RGB, "int8")})
    return Table(
        7,
        {
            0: "image",
            1: "RGB image, stretched to the input's size.",
            3: Table(3, {0: Number(_IMAGE, "int8"), 1: properties}),
            4: [Table(2, {0: Number(_NORMALIZATION, "int8"), 1: normalisation})],
            5: Table(2, {0: Numbers([highest], "float32"), 1: Numbers([lowest], "float32")}),
        },
    )


def _outputs(metadata: FileMetadata) -> list[Table]:
    if metadata.kind == "detections":
        boxes = Table(
            3,
            {
                0: Numbers(_LEFT_TOP_RIGHT_BOTTOM, "uint32"),
                1: Number(_BOUNDARIES, "int8"),
                2: Number(_RATIO, "int8"),
            },
        )
        threshold = Table(1, {0: Number(metadata.score_threshold, "float32")})
        return [
            _tensor("location", "Boxes of the detections.", _BOXES, boxes, of_each=True),
            _tensor("category", "Classes of the detections.", of_each=True, labels=_VALUE_LABELS),
            _tensor("score", "Scores of the detections.", of_each=True, unit=(_THRESHOLDING, threshold)),
            _tensor("number of detections", "Number of detections."),
        ]
    if metadata.kind == "raw":
        return [
            _tensor("box codes", "Offsets (ty, tx, th, tw) from the anchors, scaled."),
            _tensor("scores", "Score of each class at each anchor.", labels=_AXIS_LABELS),
        ]
    return [_tensor("probability", "Probability of each class.", labels=_AXIS_LABELS)]


def _tensor(
    name: str,
    description: str,
    kind: int = _FEATURE,
    properties: Table | None = None,
    *,
    of_each: bool = False,
    labels: int | None = None,
    unit: tuple[int, Table] | None = None,
) -> Table:
    """An output; `of_each` says that the third dimension is one detection."""
    content: dict[int, Field] = {0: Number(kind, "int8"), 1: properties or Table(0, {})}
    if of_each:
        content[2] = Table(2, {0: Number(2, "int32"), 1: Number(2, "int32")})
    fields: dict[int, Field] = {0: name, 1: description, 3: Table(3, content)}
    if unit is not None:
        fields[4] = [Table(2, {0: Number(unit[0], "int8"), 1: unit[1]})]
    if labels is not None:
        label_file = Table(5, {0: LABELS_FILE, 1: "Names of the classes, a line each.", 2: Number(labels, "int8")})
        fields[6] = [label_file]
    return Table(7, fields)
