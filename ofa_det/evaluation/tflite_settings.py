"""Other post-processing settings for a `.tflite` detector, by editing the attributes of its last op."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from ofa_det.arch.description import PostProcessChange
from ofa_det.detection.postprocessing import POSTPROCESS_OP

_ATTRIBUTES = {
    "score_threshold": "nms_score_threshold",
    "iou_threshold": "nms_iou_threshold",
    "max_detections": "max_detections",
    "detections_per_class": "detections_per_class",
    "regular_nms": "use_regular_nms",
}
"""Attribute of the op by the name of a setting; `tensorflow/lite/kernels/detection_postprocess.cc`."""


def with_postprocess(path: Path, content: bytes, change: PostProcessChange) -> bytes:
    """A detector's flatbuffer with other settings of TFLite_Detection_PostProcess.

    Args:
        path: of the file, for the error.
        content: the file.
        change: what replaces the file's own settings.

    Raises:
        ValueError: no TFLite model, or one without that op.
    """
    try:
        model = schema.ModelT.InitFromPackedBuf(bytearray(content))
        ops = [
            op
            for graph in model.subgraphs
            for op in graph.operators
            if (model.operatorCodes[op.opcodeIndex].customCode or b"").decode() == POSTPROCESS_OP
        ]
        attributes = [flexbuffers.GetRoot(bytearray(bytes(op.customOptions))).AsMap.Value for op in ops]
    # The generated reader follows whatever offsets stand in a damaged file.
    except (struct.error, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"expected a TFLite model in {path}, found: {error}") from error
    if not ops:
        raise ValueError(f"expected a detector that ends in {POSTPROCESS_OP} in {path}, found no such op")
    for op, found in zip(ops, attributes, strict=True):
        changed = found | {_ATTRIBUTES[name]: value for name, value in change.values().items()}
        op.customOptions = np.frombuffer(_flexbuffer(changed), dtype=np.uint8)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _flexbuffer(attributes: dict[str, Any]) -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in attributes.items():
            if isinstance(value, bool):
                builder.Bool(key, value)
            elif isinstance(value, int):
                builder.Int(key, value)
            else:
                builder.Float(key, value)
    return bytes(builder.Finish())
