"""Detector to a `.tflite` file, which ends in TFLite_Detection_PostProcess unless that is left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.classes import ClassColumns
from ofa_det.arch.description import ModelDescription
from ofa_det.arch.detector import shipped_plan
from ofa_det.artefacts.manifest import LayerNoiseEntry, QuantizationEntry, TensorEntry
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP
from ofa_det.evaluation.tflite_raw import RAW_OUTPUTS
from ofa_det.export.conversion import convert
from ofa_det.export.converted import ConvertedModel, Recipe
from ofa_det.export.formats import InputType
from ofa_det.export.keras_mirror import INPUT_NAME, keras_mirror
from ofa_det.export.layer_noise import LayerNoise, layer_noises
from ofa_det.export.metadata import DETECTION_SIGNATURE, FileMetadata, with_metadata
from ofa_det.export.mirror_weights import (
    MirrorWeights,
    fold_batch_norm,
    with_box_factors,
    with_score_columns,
    with_tf_box_order,
)
from ofa_det.export.op_surgery import TF_BOX_SCALES, append_postprocess, append_raw_outputs
from ofa_det.export.verification import (
    INPUT_QUANTIZATION,
    check_agreement,
    check_input,
    check_plan,
    compare,
    output_quantization,
)
from ofa_det.models.activation_ranges import calibrated_ranges, silent_logit
from ofa_det.models.fake_quantization import Ranges
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained

logger = logging.getLogger(__name__)

_NAMED_LAYERS = 5
"""Of the worst, in the manifest."""


def make_tflite(
    trained: Trained[Detector],
    recipe: Recipe,
    calibration_images: Sequence[NDArray[np.uint8]],
    compared_images: Sequence[NDArray[np.uint8]],
) -> ConvertedModel:
    """Converts and verifies a detector.

    Args:
        trained: the detector, in eval mode on the CPU; its description has the post-processing of the file.
        recipe: of the file.
        calibration_images: (H, W, 3) uint8 of the network's input size, that set the ranges of int8 activations; none
            are looked at where there are no ranges or trained ones.
        compared_images: others, on which file and torch are compared.

    Returns:
        The file, from RGB bytes or float32 in [-1, 1) to the outputs of the post-processing op, or raw ones.

    Raises:
        ValueError: the converted network is not the one it was made from.
    """
    detector, description, record = trained.network, trained.description, recipe.record
    columns, postprocess = _columns(description, recipe), description.postprocess
    shipped = shipped_plan(detector.config, len(columns), detector.subnet)
    factors = np.divide(recipe.ending.box_scales, TF_BOX_SCALES, dtype=np.float32)
    weights = _weights(detector, columns, postprocess.score_threshold, factors)
    ranges = _ranges(trained, recipe, calibration_images, factors) if record.quantized else None
    network = convert(keras_mirror(shipped, weights, ranges), recipe.format, recipe.input)

    check_input(network, shipped.resolution, recipe.input)
    check_plan(network, shipped)
    threshold = postprocess.score_threshold
    layers: Sequence[LayerNoise] = ()
    if record.quantized:
        layers = layer_noises(network, shipped, weights, compared_images, score_threshold=threshold)
    agreement = compare(network, detector, columns, compared_images, score_threshold=threshold, box_factors=factors)
    logger.info(
        "raw outputs against torch on %d other images: box codes %.1f dB, scores %.1f dB",
        agreement.images,
        agreement.box_code_sqnr_db,
        agreement.score_sqnr_db,
    )
    check_agreement(agreement, record, score_threshold=threshold, layers=layers)
    anchors, ending = detector.anchors(detector.subnet).numpy(), recipe.ending
    rows = postprocess.max_detections * ending.max_classes_per_detection
    ended = (
        append_raw_outputs(network, anchors)
        if ending.kind == "raw"
        else append_postprocess(
            network,
            anchors,
            postprocess,
            max_classes_per_detection=ending.max_classes_per_detection,
            box_scales=ending.box_scales,
        )
    )
    return ConvertedModel(
        file_name=record.file_name,
        content=with_metadata(ended, _metadata(columns, recipe, postprocess.score_threshold)),
        columns=columns,
        plan=shipped,
        input=_input_entry(shipped.resolution, recipe.input),
        outputs=_raw_entries(shipped.num_anchors, len(columns)) if ending.kind == "raw" else _output_entries(rows),
        quantization=_quantization_entry(network, recipe, len(calibration_images), layers)
        if record.quantized
        else None,
        verification=asdict(agreement),
        layers=layers,
        anchors=anchors if ending.kind == "raw" else None,
    )


def _metadata(columns: ClassColumns, recipe: Recipe, score_threshold: float) -> FileMetadata:
    is_raw = recipe.ending.kind == "raw"
    return FileMetadata(
        name="ofa_det detector",
        description=f"Object detector of {len([name for name in columns.labels if name is not None])} classes, "
        f"{recipe.record.summary}.",
        labels=columns.label_map(),
        kind="raw" if is_raw else "detections",
        signature_outputs=RAW_OUTPUTS if is_raw else DETECTION_SIGNATURE,
        score_threshold=score_threshold,
        quantized_input=recipe.input != "float32",
    )


def _columns(description: ModelDescription, recipe: Recipe) -> ClassColumns:
    columns, used = description.columns(recipe.classes), len(description.categories)
    if len(columns) > 2 * used:
        logger.warning(
            "%d of %d class columns belong to no category, for the gaps between category ids; --classes compact, of "
            "search too, leaves them out",
            len(columns) - used,
            len(columns),
        )
    return columns


def _weights(
    detector: Detector, columns: ClassColumns, score_threshold: float, box_factors: NDArray[np.float32]
) -> MirrorWeights:
    """Of the file's layers."""
    plan = detector.plan(detector.subnet)
    weights = fold_batch_norm(plan, {key: value.numpy() for key, value in detector.state_dict().items()})
    weights = with_box_factors(plan, with_tf_box_order(plan, weights), box_factors)
    unused = unused_logit(columns, score_threshold)
    return with_score_columns(plan, weights, columns.labels, [unused] * len(plan.score_outputs))


def unused_logit(columns: ClassColumns, score_threshold: float) -> float:
    """A logit for unused columns: below the threshold, and within the range that logits have in an int8 file.

    Raises:
        ValueError: a threshold of 0, which even an unused class would reach.
    """
    if not columns.has_unused:
        return 0.0
    if score_threshold <= 0:
        raise ValueError(
            "expected a score_threshold > 0, found 0: the category ids have gaps, and their unused classes would be "
            "detected; export with --ending.score_threshold above 0 or --classes compact"
        )
    return silent_logit(score_threshold)


def _ranges(
    trained: Trained[Detector],
    recipe: Recipe,
    calibration_images: Sequence[NDArray[np.uint8]],
    box_factors: NDArray[np.float32],
) -> Ranges:
    detector = trained.network
    ranges = recipe.trained_ranges
    if ranges is None:
        logger.info("calibrating with %d images", len(calibration_images))
        ranges = calibrated_ranges(
            detector,
            calibration_images,
            rule=recipe.range_rule,
            score_threshold=trained.description.postprocess.score_threshold,
        )
    factor, boxes = float(box_factors.max()), detector.plan(detector.subnet).box_outputs
    return {
        name: (low * factor, high * factor) if name in boxes else (low, high) for name, (low, high) in ranges.items()
    }


def _input_entry(resolution: int, input_type: InputType) -> TensorEntry:
    scale, zero_point = INPUT_QUANTIZATION[input_type]
    before = {"uint8": "", "int8": "x - 128 of the ", "float32": "(x - 128) / 128 of the "}[input_type]
    return TensorEntry(
        name=INPUT_NAME,
        shape=(1, resolution, resolution, 3),
        dtype=input_type,
        content=f"{before}RGB bytes of the image, stretched bilinearly to the input size without letterbox",
        quantization={"scale": scale, "zero_point": zero_point} if scale else None,
    )


def _output_entries(rows: int) -> tuple[TensorEntry, ...]:
    outputs = (
        ((1, rows, 4), "ymin, xmin, ymax, xmax in 0..1 of the image"),
        ((1, rows), "class, an index into class_category_ids"),
        ((1, rows), "score"),
        ((1,), "number of detections"),
    )
    return tuple(
        TensorEntry(
            name=f"{POSTPROCESS_OP}:{index}" if index else POSTPROCESS_OP, shape=shape, dtype="float32", content=content
        )
        for index, (shape, content) in enumerate(outputs)
    )


def _raw_entries(anchors: int, columns: int) -> tuple[TensorEntry, ...]:
    contents = (4, "ty, tx, th, tw against the anchors of anchors.safetensors"), (columns, "score of each class")
    return tuple(
        TensorEntry(name=name, shape=(1, anchors, values), dtype="float32", content=content)
        for name, (values, content) in zip(RAW_OUTPUTS, contents, strict=True)
    )


def _quantization_entry(
    network: bytes, recipe: Recipe, calibration_images: int, layers: Sequence[LayerNoise]
) -> QuantizationEntry:
    levels = output_quantization(network)
    trained = recipe.trained_ranges is not None
    return QuantizationEntry(
        method=recipe.record.summary if trained else f"{recipe.record.summary}, ranges by {recipe.range_rule}",
        calibration_images=0 if trained else calibration_images,
        box_codes=tuple(levels[: len(levels) // 2]),
        logits=tuple(levels[len(levels) // 2 :]),
        worst_layers=tuple(LayerNoiseEntry(name=layer.name, sqnr_db=layer.sqnr_db) for layer in layers[:_NAMED_LAYERS]),
    )
