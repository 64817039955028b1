"""Checks a converted network against the torch detector it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.arch.classes import ClassColumns
from ofa_det.arch.plan import LayerPlan
from ofa_det.artefacts.tflite_content import open_interpreter
from ofa_det.detection.box_coder import TF_BOX_ORDER
from ofa_det.detection.preprocessing import PIXEL_MEAN, PIXEL_SCALE, normalise
from ofa_det.evaluation.tflite import input_values
from ofa_det.export.formats import FormatRecord, InputType
from ofa_det.export.layer_noise import LayerNoise
from ofa_det.latency.tflite_file import parse_tflite
from ofa_det.models.network import Detector

INPUT_QUANTIZATION: Mapping[InputType, tuple[float, int]] = {
    "uint8": (1 / PIXEL_SCALE, int(PIXEL_MEAN)),
    "int8": (1 / PIXEL_SCALE, 0),
    "float32": (0.0, 0),
}
"""Scale and zero point that make RGB bytes the network's input, as they are or less 128; (0, 0) stands for none."""

SHOWN_LAYERS = 3
"""Of the worst, in an error."""


@dataclass(frozen=True, kw_only=True)
class RawOutputs:
    """What a network gives before post-processing.

    Args:
        box_codes: (B, A, 4) (ty, tx, th, tw).
        scores: (B, A, C), C the columns of the file.
    """

    box_codes: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a file's raw outputs compare with torch's on the same images.

    Args:
        images: how many were compared.
        box_code_error: largest absolute difference, in units of the largest box code (at least 1).
        score_error: largest absolute difference of a score.
        box_code_sqnr_db: signal to quantization noise of the box codes of detections: of anchors whose best score in
            torch reaches the threshold, or of all if none does.
        score_sqnr_db: the same of the scores.
        unused_score: largest score in a column that belongs to no category; 0 without such columns.
    """

    images: int
    box_code_error: float
    score_error: float
    box_code_sqnr_db: float
    score_sqnr_db: float
    unused_score: float


def compare(
    content: bytes,
    detector: Detector,
    columns: ClassColumns,
    images: Sequence[NDArray[np.uint8]],
    *,
    score_threshold: float,
    box_factors: NDArray[np.float32],
) -> Agreement:
    """Runs a converted network and its origin on the same images.

    Args:
        content: flatbuffer before post-processing was appended.
        detector: the origin, in eval mode.
        columns: the classes of the file.
        images: (H, W, 3) uint8 of the input's size, at least one; none that it was calibrated with.
        score_threshold: of the file.
        box_factors: (4,) that the file's box codes are scaled by.
    """
    found = _tflite_outputs(content, images)
    wanted = torch_outputs(detector, images)
    used = [index for index, label in enumerate(columns.labels) if label is not None]
    labels = [label for label in columns.labels if label is not None]
    unused = np.delete(found.scores, used, axis=-1)
    wanted_codes, wanted_scores = wanted.box_codes * box_factors, wanted.scores[..., labels]
    found_scores = found.scores[..., used]
    scale = max(1.0, float(np.abs(wanted_codes).max()))
    read = wanted_scores.max(axis=-1) >= score_threshold
    if not read.any():
        read[:] = True
    return Agreement(
        images=len(images),
        box_code_error=float(np.abs(found.box_codes - wanted_codes).max()) / scale,
        score_error=float(np.abs(found_scores - wanted_scores).max()),
        box_code_sqnr_db=sqnr_db(wanted_codes[read], found.box_codes[read]),
        score_sqnr_db=sqnr_db(wanted_scores, found_scores),
        unused_score=float(unused.max(initial=0.0)),
    )


def check_agreement(
    agreement: Agreement, record: FormatRecord, *, score_threshold: float, layers: Sequence[LayerNoise] = ()
) -> None:
    """Refuses a file that is not the network it was made from.

    Args:
        agreement: of its raw outputs with torch's.
        record: of its format.
        score_threshold: of the file.
        layers: the noise of each, the worst first.

    Raises:
        ValueError: outputs differ by more than the format's tolerance, are drowned in noise, a layer's range is too
            narrow for what comes, or an unused class can fire.
    """
    # Asked so that what is not a number, as of a weight beyond float16, is refused too.
    worst = float(np.max([agreement.box_code_error, agreement.score_error]))
    if record.tolerance is not None and not worst <= record.tolerance:
        raise ValueError(
            f"expected the converted network to equal torch within {record.tolerance}, "
            f"found a difference of {worst:.2g}"
        )
    noise = min(agreement.box_code_sqnr_db, agreement.score_sqnr_db)
    if record.least_sqnr_db is not None and noise < record.least_sqnr_db:
        raise ValueError(
            f"expected raw outputs of at least {record.least_sqnr_db:g} dB signal to quantization noise, found box "
            f"codes of {agreement.box_code_sqnr_db:.1f} dB and scores of {agreement.score_sqnr_db:.1f} dB"
            f"{blame(layers)}; {MEND}"
        )
    if layers and layers[0].is_clipped:
        raise ValueError(
            f"expected ranges that hold what the layers compute, found {layers[0].name} with "
            f"{layers[0].clipping_db:.0f} dB more clipping than rounding on images that were not calibrated with"
            f"{blame(layers)}; {MEND}"
        )
    if agreement.unused_score != 0 and not agreement.unused_score < score_threshold:
        raise ValueError(
            f"expected unused classes to score below the threshold {score_threshold}, "
            f"found {agreement.unused_score:.3g}"
        )


def check_accuracy(
    *, before: float, after: float, tolerance: float, images: int, layers: Sequence[LayerNoise] = ()
) -> None:
    """Refuses a file that finds less than the detector it was made from.

    Args:
        before: AP of torch, as a fraction.
        after: AP of the file on the same images.
        tolerance: largest fall.
        images: how many they are.
        layers: the noise of each, the worst first.

    Raises:
        ValueError: AP fell by more.
    """
    if before - after > tolerance:
        raise ValueError(
            f"expected AP to fall by at most {100 * tolerance:.1f} points by the export, found {100 * before:.1f} "
            f"before and {100 * after:.1f} after on {images} images{blame(layers)}; {MEND}, or raise --ap_tolerance"
        )


MEND = (
    "try another --ranges, more --calibration_images, relu6 in place of hswish, or train with quantization "
    "(train_det --quantize.detector, then --format tflite-int8-qat)"
)


def blame(layers: Sequence[LayerNoise]) -> str:
    """The worst layers, for an error."""
    if not layers:
        return ""
    named = ", ".join(f"{layer.name} ({layer.sqnr_db:.1f} dB)" for layer in layers[:SHOWN_LAYERS])
    return f"; most noise is added in {named}, where the median layer has {_median_db(layers):.1f} dB"


def _median_db(layers: Sequence[LayerNoise]) -> float:
    return float(np.median([layer.sqnr_db for layer in layers]))


def check_plan(content: bytes, plan: LayerPlan) -> None:
    """Refuses a file that is not what its plan says.

    Raises:
        ValueError: another number of multiply-accumulates or parameters.
    """
    network = parse_tflite(content, where="the converted network")
    found = network.macs, sum(layer.parameters for layer in network.layers)
    if found != (plan.macs, plan.parameters):
        raise ValueError(
            f"expected a file of {plan.macs} multiply-accumulates and {plan.parameters} parameters, as planned, "
            f"found {found[0]} and {found[1]}"
        )


def check_input(content: bytes, resolution: int, input_type: InputType) -> None:
    """Refuses a file that does not take images as they are meant to be given.

    Raises:
        ValueError: another input shape, type, scale or zero point.
    """
    (entry,) = open_interpreter(content).get_input_details()
    wanted = ([1, resolution, resolution, 3], input_type, INPUT_QUANTIZATION[input_type])
    found = (entry["shape"].tolist(), np.dtype(entry["dtype"]).name, entry["quantization"])
    if found != wanted:
        raise ValueError(f"expected an input of shape, type and quantization {wanted}, found {found}")


def output_quantization(content: bytes) -> list[dict[str, float]]:
    """Scale and zero point of each level's box codes, then of each level's logits; empty for a float32 network."""
    interpreter = open_interpreter(content)
    outputs = {int(entry["index"]): order for order, entry in enumerate(interpreter.get_output_details())}
    quantization: dict[int, dict[str, float]] = {}
    for op in interpreter._get_ops_details():
        target = int(op["outputs"][0]) if len(op["outputs"]) else -1
        if op["op_name"] == "DEQUANTIZE" and target in outputs:
            scale, zero_point = interpreter._get_tensor_details(int(op["inputs"][0]), 0)["quantization"]
            quantization[outputs[target]] = {"scale": float(scale), "zero_point": int(zero_point)}
    return [quantization[order] for order in sorted(quantization)]


def sqnr_db(signal: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Signal to quantization noise ratio in dB; 200 stands for no noise at all, -200 for nothing else."""
    noise = float(np.square(signal.astype(np.float64) - found).sum())
    power = float(np.square(signal.astype(np.float64)).sum())
    if noise == 0:
        return 200.0
    if power == 0 or not np.isfinite(noise):
        return -200.0
    return float(np.clip(10 * np.log10(power / noise), -200, 200))


@torch.no_grad()
def torch_outputs(detector: Detector, images: Sequence[NDArray[np.uint8]]) -> RawOutputs:
    """The detector's outputs, box codes in the op's order, one column a label."""
    device = next(detector.parameters()).device
    outputs = [
        detector(normalise(torch.from_numpy(image[None]).permute(0, 3, 1, 2).to(device)), detector.subnet)
        for image in images
    ]
    codes = torch.cat([output.box_codes for output in outputs])[..., list(TF_BOX_ORDER)]
    scores = torch.cat([output.logits for output in outputs]).sigmoid()
    return RawOutputs(box_codes=codes.cpu().numpy(), scores=scores.cpu().numpy())


def _tflite_outputs(content: bytes, images: Sequence[NDArray[np.uint8]]) -> RawOutputs:
    interpreter = open_interpreter(content)
    (entry,) = interpreter.get_input_details()
    outputs = [int(output["index"]) for output in interpreter.get_output_details()]
    levels = len(outputs) // 2
    codes, logits = [], []
    for image in images:
        interpreter.set_tensor(entry["index"], input_values(image, entry["dtype"]))
        interpreter.invoke()
        found = [interpreter.get_tensor(index) for index in outputs]
        codes.append(np.concatenate(found[:levels], axis=1))
        logits.append(np.concatenate(found[levels:], axis=1))
    return RawOutputs(box_codes=np.concatenate(codes), scores=_sigmoid(np.concatenate(logits)))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))), dtype=np.float32)
