"""Other post-processing settings for a `.tflite` detector, by editing the attributes of its last op."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ofa_det.arch.description import PostProcessChange
from ofa_det.artefacts.postprocess_op import ATTRIBUTES, POSTPROCESS_OP, read_attributes, write_attributes
from ofa_det.artefacts.tflite_content import BROKEN, op_name, read_tables, write_tables


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
        attributes = [read_attributes(op) for op in ops]
    except BROKEN as error:
        raise ValueError(f"expected a whole TFLite model in {path}, found a broken one ({error})") from error
    if not ops:
        raise ValueError(f"expected a detector that ends in {POSTPROCESS_OP} in {path}, found no such op")
    for op, found in zip(ops, attributes, strict=True):
        changed = found | {ATTRIBUTES[name]: value for name, value in change.values().items()}
        op.customOptions = np.frombuffer(write_attributes(changed), dtype=np.uint8)
    return write_tables(model)
