"""Detector to ONNX: raw RGB bytes in, decoded boxes and scores out, of every anchor or of the detections alone."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ofa_det.arch.classes import label_columns
from ofa_det.arch.detector import shipped_plan
from ofa_det.artefacts.manifest import TensorEntry
from ofa_det.artefacts.records import record_content
from ofa_det.detection.box_coder import decode
from ofa_det.detection.preprocessing import normalise
from ofa_det.evaluation.onnx import (
    DETECTION_OUTPUTS,
    INPUT_NAME,
    METADATA_KEY,
    NMS_METADATA_KEY,
    OUTPUT_NAMES,
    OnnxMetadata,
)
from ofa_det.export.converted import ConvertedModel
from ofa_det.export.formats import FORMATS, ONNX_FILE
from ofa_det.export.onnx_suppression import with_suppression
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained

try:
    import onnx
except ModuleNotFoundError as error:
    raise ValueError(
        "expected onnx for export to .onnx, found none; install the extra: pip install 'ofa-det[export]'"
    ) from error

OPSET = 18
"""Version of ONNX's operators: the first in which torch writes its graph without a conversion."""


class DecodedDetector(nn.Module):
    """Normalisation, network, box decoding and sigmoid, so that a user can get none of them wrong."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("anchors", detector.anchors(detector.subnet))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(1, H, W, 3) uint8 RGB to boxes (1, A, 4) xyxy, normalised, and scores (1, A, C)."""
        output = self.detector(normalise(images.permute(0, 3, 1, 2)), self.detector.subnet)
        return decode(output.box_codes, self.get_buffer("anchors")), output.logits.sigmoid()


def convert_to_onnx(
    trained: Trained[Detector], verification_images: Sequence[NDArray[np.uint8]], *, suppressed: bool = False
) -> ConvertedModel:
    """Converts a detector.

    Args:
        trained: the detector, in eval mode on the CPU; its description has the post-processing of the file.
        verification_images: (H, W, 3) uint8 of the network's input size, on which the file must equal torch.
        suppressed: suppress inside the file; otherwise that is left to `OnnxDetector`, with the attributes in the
            file's metadata.

    Returns:
        An ONNX model from `images` (1, H, W, 3) uint8 RGB to `boxes` (1, A, 4) xyxy, normalised, and `scores`
        (1, A, C), C the labels; suppressed, to `boxes` (N, 4), `scores` (N,), descending, and `labels` (N,). Its
        metadata holds category ids, names and the attributes.

    Raises:
        ValueError: the outputs of every anchor differ from torch's by more than 1e-4.
    """
    detector, description = trained.network, trained.description
    network = DecodedDetector(detector).eval()
    model = _export(network)
    columns = label_columns(description.categories)
    metadata = OnnxMetadata(
        class_category_ids=tuple(category.id for category in description.categories),
        class_names=columns.names,
        postprocess=description.postprocess,
    )
    error = _largest_error(_content(model), network, verification_images)
    tolerance = FORMATS["onnx"].tolerance
    assert tolerance is not None
    if not error <= tolerance:
        raise ValueError(f"expected the ONNX file to equal torch within {tolerance}, found {error:.2g}")
    if suppressed:
        model = with_suppression(model, OUTPUT_NAMES, description.postprocess)
    key = NMS_METADATA_KEY if suppressed else METADATA_KEY
    onnx.helper.set_model_props(model, {key: json.dumps(record_content(metadata))})
    plan = shipped_plan(detector.config, len(columns), detector.subnet)
    return ConvertedModel(
        file_name=ONNX_FILE,
        content=_content(model),
        columns=columns,
        plan=plan,
        input=TensorEntry(
            name=INPUT_NAME,
            shape=(1, plan.resolution, plan.resolution, 3),
            dtype="uint8",
            content="RGB bytes of the image, stretched bilinearly to the input size without letterbox",
        ),
        outputs=_detection_entries(description.postprocess.max_detections)
        if suppressed
        else _anchor_entries(plan.num_anchors, len(columns)),
        quantization=None,
        verification={"images": len(verification_images), "largest_error": error, "opset": OPSET},
    )


def _anchor_entries(anchors: int, columns: int) -> tuple[TensorEntry, ...]:
    contents = (4, "xmin, ymin, xmax, ymax in 0..1"), (columns, "score of each class in 0..1")
    return tuple(
        TensorEntry(name=name, shape=(1, anchors, values), dtype="float32", content=content)
        for name, (values, content) in zip(OUTPUT_NAMES, contents, strict=True)
    )


def _detection_entries(most: int) -> tuple[TensorEntry, ...]:
    """Of at most so many detections; an image may have fewer."""
    contents = (
        ((most, 4), "float32", "xmin, ymin, xmax, ymax in 0..1 of N detections"),
        ((most,), "float32", "scores of N detections, descending"),
        ((most,), "int64", "labels of N detections, indices into class_category_ids"),
    )
    return tuple(
        TensorEntry(name=name, shape=shape, dtype=dtype, content=content)
        for name, (shape, dtype, content) in zip(DETECTION_OUTPUTS, contents, strict=True)
    )


def _content(model: onnx.ModelProto) -> bytes:
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue()


def _export(network: DecodedDetector) -> onnx.ModelProto:
    resolution = network.detector.subnet.resolution
    images = torch.zeros((1, resolution, resolution, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes about its own internals
        program = torch.onnx.export(
            network,
            (images,),
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@torch.no_grad()
def _largest_error(content: bytes, network: DecodedDetector, images: Sequence[NDArray[np.uint8]]) -> float:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    errors = []
    for image in images:
        found = session.run(list(OUTPUT_NAMES), {INPUT_NAME: image[None]})
        wanted = network(torch.from_numpy(image[None]))
        for ours, theirs in zip(found, wanted, strict=True):
            errors.append(np.abs(ours - theirs.numpy()).max())
    return float(np.max(errors))
