"""Other post-processing settings for a `.tflite` detector, by editing the attributes of its last op."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from ofa_det.arch.description import PostProcessChange
from ofa_det.artefacts.tflite_content import BROKEN, op_name, read_tables, write_tables
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
    model = read_tables(content, where=str(path))
    try:
        ops = [
            op
            for graph in model.subgraphs
            for op in graph.operators
            if op_name(model.operatorCodes[op.opcodeIndex]) == POSTPROCESS_OP
        ]
        attributes = [flexbuffers.GetRoot(bytearray(bytes(op.customOptions))).AsMap.Value for op in ops]
    except BROKEN as error:
        raise ValueError(f"expected a whole TFLite model in {path}, found a broken one ({error})") from error
    if not ops:
        raise ValueError(f"expected a detector that ends in {POSTPROCESS_OP} in {path}, found no such op")
    for op, found in zip(ops, attributes, strict=True):
        changed = found | {_ATTRIBUTES[name]: value for name, value in change.values().items()}
        op.customOptions = np.frombuffer(_flexbuffer(changed), dtype=np.uint8)
    return write_tables(model)


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
