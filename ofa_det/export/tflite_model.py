"""Detector to a `.tflite` file that ends in TFLite_Detection_PostProcess."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import ClassColumns
from ofa_det.arch.plan import LayerPlan
from ofa_det.artefacts.manifest import QuantizationEntry, TensorEntry
from ofa_det.detection.postprocessing import POSTPROCESS_OP
from ofa_det.export.conversion import convert_float32, convert_int8
from ofa_det.export.converted import ConvertedModel
from ofa_det.export.keras_mirror import INPUT_NAME, keras_mirror
from ofa_det.export.mirror_weights import fold_batch_norm, with_score_columns, with_tf_box_order
from ofa_det.export.op_surgery import append_postprocess
from ofa_det.export.verification import (
    INPUT_QUANTIZATION,
    check_agreement,
    check_input,
    check_plan,
    compare,
    output_quantization,
    torch_outputs,
)
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained

logger = logging.getLogger(__name__)

# Below the logit of the score threshold, so that rounding to int8 does not lift an unused class over it.
_UNUSED_MARGIN = 1.0


def convert_to_tflite(
    trained: Trained[Detector],
    calibration_images: Sequence[NDArray[np.uint8]],
    verification_images: Sequence[NDArray[np.uint8]],
    *,
    quantized: bool,
) -> ConvertedModel:
    """Converts and verifies a detector.

    Args:
        trained: the detector, in eval mode on the CPU.
        calibration_images: (H, W, 3) uint8 of the network's input size, that set the ranges of int8 activations.
        verification_images: the same, on which file and torch are compared.
        quantized: int8 within and uint8 images in, or float32.

    Returns:
        The file, from uint8 RGB or float32 in [-1, 1) to the outputs of the post-processing op.

    Raises:
        ValueError: the converted network is not the one it was made from.
    """
    detector, description = trained.network, trained.description
    columns, postprocess = description.columns, description.postprocess
    plan, shipped = detector.plan(detector.subnet), description.shipped_plan(detector.subnet)
    weights = fold_batch_norm(plan, {key: value.numpy() for key, value in detector.state_dict().items()})
    weights = with_tf_box_order(plan, weights)
    unused = unused_logits(detector, columns, verification_images, postprocess.score_threshold)
    mirror = keras_mirror(shipped, with_score_columns(plan, weights, columns.labels, unused))
    network = convert_int8(mirror, calibration_images) if quantized else convert_float32(mirror)

    check_input(network, plan.resolution, quantized=quantized)
    check_plan(network, shipped)
    agreement = compare(network, detector, columns, verification_images)
    logger.info(
        "raw outputs against torch on %d images: box codes %.1f dB, scores %.1f dB",
        agreement.images,
        agreement.box_code_sqnr_db,
        agreement.score_sqnr_db,
    )
    check_agreement(agreement, quantized=quantized, score_threshold=postprocess.score_threshold)
    return ConvertedModel(
        file_name="model.tflite",
        content=append_postprocess(network, detector.anchors(detector.subnet).numpy(), postprocess),
        columns=columns,
        plan=shipped,
        input=_input_entry(plan.resolution, quantized),
        outputs=_output_entries(postprocess.max_detections),
        quantization=_quantization_entry(network, len(calibration_images)) if quantized else None,
        verification=asdict(agreement),
    )


def unused_logits(
    detector: Detector, columns: ClassColumns, images: Sequence[NDArray[np.uint8]], score_threshold: float
) -> list[float]:
    """Per level, a logit for unused columns: below the threshold, and no lower than the level's logits need be.

    A logit far below all others would stretch the level's int8 range, and with it the steps of every class.

    Raises:
        ValueError: a threshold of 0, which even an unused class would reach.
    """
    if not columns.has_unused:
        return [0.0] * len(detector.config.anchor_sizes)
    if score_threshold <= 0:
        raise ValueError(
            "expected a score_threshold > 0, found 0: the category ids have gaps, and their unused classes would be "
            "detected; train it, or the supernet it is from, with --postprocess.score_threshold above 0"
        )
    scores = torch_outputs(detector, images).scores.min(axis=(0, 2))
    silent = math.log(score_threshold / (1 - score_threshold)) - _UNUSED_MARGIN if score_threshold < 1 else 0.0
    return [
        min(silent, math.log(max(lowest, 1e-12) / max(1 - lowest, 1e-12)))
        for lowest in (float(level.min()) for level in _per_level(detector.plan(detector.subnet), scores))
    ]


def _per_level(plan: LayerPlan, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Splits (A, ...) into levels."""
    sizes = [
        height * width * anchors
        for (height, width), anchors in zip(plan.feature_sizes, plan.anchors_per_cell, strict=True)
    ]
    return np.split(values, np.cumsum(sizes)[:-1])


def _input_entry(resolution: int, quantized: bool) -> TensorEntry:
    scale, zero_point = INPUT_QUANTIZATION
    return TensorEntry(
        name=INPUT_NAME,
        shape=(1, resolution, resolution, 3),
        dtype="uint8" if quantized else "float32",
        content=("" if quantized else "(x - 128) / 128 of the ")
        + "RGB bytes of the image, stretched bilinearly to the input size without letterbox",
        quantization={"scale": scale, "zero_point": zero_point} if quantized else None,
    )


def _output_entries(max_detections: int) -> tuple[TensorEntry, ...]:
    outputs = (
        ((1, max_detections, 4), "ymin, xmin, ymax, xmax in 0..1 of the image"),
        ((1, max_detections), "class, an index into class_category_ids"),
        ((1, max_detections), "score"),
        ((1,), "number of detections"),
    )
    return tuple(
        TensorEntry(
            name=f"{POSTPROCESS_OP}:{index}" if index else POSTPROCESS_OP, shape=shape, dtype="float32", content=content
        )
        for index, (shape, content) in enumerate(outputs)
    )


def _quantization_entry(network: bytes, calibration_images: int) -> QuantizationEntry:
    levels = output_quantization(network)
    return QuantizationEntry(
        method="int8 after training, weights per output channel, activations per tensor",
        calibration_images=calibration_images,
        box_codes=tuple(levels[: len(levels) // 2]),
        logits=tuple(levels[len(levels) // 2 :]),
    )
