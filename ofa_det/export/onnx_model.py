"""Detector to ONNX: raw RGB bytes in, decoded boxes and scores out."""

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
from ofa_det.evaluation.onnx import INPUT_NAME, METADATA_KEY, OUTPUT_NAMES, OnnxMetadata
from ofa_det.export.converted import ConvertedModel
from ofa_det.export.verification import FLOAT32_TOLERANCE
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained

try:
    import onnx
except ModuleNotFoundError as error:
    raise ValueError(
        "expected onnx for export to .onnx, found none; install the extra: pip install 'ofa-det[export]'"
    ) from error

OPSET = 18


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


def convert_to_onnx(trained: Trained[Detector], verification_images: Sequence[NDArray[np.uint8]]) -> ConvertedModel:
    """Converts a detector; suppression is left to `OnnxDetector`, with the attributes in the file's metadata.

    Args:
        trained: the detector, in eval mode on the CPU.
        verification_images: (H, W, 3) uint8 of the network's input size, on which the file must equal torch.

    Returns:
        An ONNX model from `images` (1, H, W, 3) uint8 RGB to `boxes` (1, A, 4) xyxy, normalised, and `scores`
        (1, A, C), C the labels; its metadata holds category ids, names and the attributes.

    Raises:
        ValueError: the file's outputs differ from torch's by more than 1e-4.
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
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(record_content(metadata))})
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    content = buffer.getvalue()
    error = _largest_error(content, network, verification_images)
    if error > FLOAT32_TOLERANCE:
        raise ValueError(f"expected the ONNX file to equal torch within {FLOAT32_TOLERANCE}, found {error:.2g}")
    plan = shipped_plan(detector.config, len(columns), detector.subnet)
    boxes, scores = OUTPUT_NAMES
    return ConvertedModel(
        file_name="model.onnx",
        content=content,
        columns=columns,
        plan=plan,
        input=TensorEntry(
            name=INPUT_NAME,
            shape=(1, plan.resolution, plan.resolution, 3),
            dtype="uint8",
            content="RGB bytes of the image, stretched bilinearly to the input size without letterbox",
        ),
        outputs=(
            TensorEntry(
                name=boxes,
                shape=(1, plan.num_anchors, 4),
                dtype="float32",
                content="xmin, ymin, xmax, ymax in 0..1",
            ),
            TensorEntry(
                name=scores,
                shape=(1, plan.num_anchors, len(columns)),
                dtype="float32",
                content="score of each class in 0..1",
            ),
        ),
        quantization=None,
        verification={"images": len(verification_images), "largest_error": error},
    )


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
    error = 0.0
    for image in images:
        found = session.run(list(OUTPUT_NAMES), {INPUT_NAME: image[None]})
        wanted = network(torch.from_numpy(image[None]))
        for ours, theirs in zip(found, wanted, strict=True):
            error = max(error, float(np.abs(ours - theirs.numpy()).max()))
    return error
