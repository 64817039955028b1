"""Checks a converted network against the torch detector it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ofa_det.arch.classes import ClassColumns
from ofa_det.arch.plan import LayerPlan
from ofa_det.detection.preprocessing import PIXEL_MEAN, PIXEL_SCALE, normalise, normalise_array
from ofa_det.export.mirror_weights import TF_BOX_ORDER
from ofa_det.latency.tflite_file import parse_tflite
from ofa_det.models.network import Detector

FLOAT32_TOLERANCE = 1e-4
INPUT_QUANTIZATION = (1 / PIXEL_SCALE, int(PIXEL_MEAN))
"""Scale and zero point that make raw RGB bytes the network's input."""


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
        box_code_sqnr_db: signal to quantization noise of the box codes.
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
    content: bytes, detector: Detector, columns: ClassColumns, images: Sequence[NDArray[np.uint8]]
) -> Agreement:
    """Runs a converted network and its origin on the same images.

    Args:
        content: flatbuffer before post-processing was appended.
        detector: the origin, in eval mode.
        columns: the classes of the file.
        images: (H, W, 3) uint8 of the input's size, at least one.
    """
    found = _tflite_outputs(content, images)
    wanted = torch_outputs(detector, images)
    used = [index for index, label in enumerate(columns.labels) if label is not None]
    labels = [label for label in columns.labels if label is not None]
    unused = np.delete(found.scores, used, axis=-1)
    wanted_codes, wanted_scores = wanted.box_codes, wanted.scores[..., labels]
    found_scores = found.scores[..., used]
    scale = max(1.0, float(np.abs(wanted_codes).max()))
    return Agreement(
        images=len(images),
        box_code_error=float(np.abs(found.box_codes - wanted_codes).max()) / scale,
        score_error=float(np.abs(found_scores - wanted_scores).max()),
        box_code_sqnr_db=sqnr_db(wanted_codes, found.box_codes),
        score_sqnr_db=sqnr_db(wanted_scores, found_scores),
        unused_score=float(unused.max(initial=0.0)),
    )


def check_agreement(agreement: Agreement, *, quantized: bool, score_threshold: float) -> None:
    """Refuses a file that is not the network it was made from.

    Raises:
        ValueError: a float32 network differs from torch by more than `FLOAT32_TOLERANCE`, or an unused class can fire.
    """
    worst = max(agreement.box_code_error, agreement.score_error)
    if not quantized and worst > FLOAT32_TOLERANCE:
        raise ValueError(
            f"expected the converted network to equal torch within {FLOAT32_TOLERANCE}, "
            f"found a difference of {worst:.2g}"
        )
    if agreement.unused_score >= score_threshold:
        raise ValueError(
            f"expected unused classes to score below the threshold {score_threshold}, "
            f"found {agreement.unused_score:.3g}"
        )


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


def check_input(content: bytes, resolution: int, *, quantized: bool) -> None:
    """Refuses a file that does not take images as they are meant to be given.

    Raises:
        ValueError: another input shape, type, scale or zero point.
    """
    (entry,) = _interpreter(content).get_input_details()
    shape = [1, resolution, resolution, 3]
    wanted = (shape, "uint8", INPUT_QUANTIZATION) if quantized else (shape, "float32", (0.0, 0))
    found = (entry["shape"].tolist(), np.dtype(entry["dtype"]).name, entry["quantization"])
    if found != wanted:
        raise ValueError(f"expected an input of shape, type and quantization {wanted}, found {found}")


def output_quantization(content: bytes) -> list[dict[str, float]]:
    """Scale and zero point of each level's box codes, then of each level's logits; empty for a float32 network."""
    interpreter = _interpreter(content)
    outputs = {int(entry["index"]): order for order, entry in enumerate(interpreter.get_output_details())}
    quantization: dict[int, dict[str, float]] = {}
    for op in interpreter._get_ops_details():
        target = int(op["outputs"][0]) if len(op["outputs"]) else -1
        if op["op_name"] == "DEQUANTIZE" and target in outputs:
            scale, zero_point = interpreter._get_tensor_details(int(op["inputs"][0]), 0)["quantization"]
            quantization[outputs[target]] = {"scale": float(scale), "zero_point": int(zero_point)}
    return [quantization[order] for order in sorted(quantization)]


def sqnr_db(signal: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Signal to quantization noise ratio in dB; 200 stands for no noise at all."""
    noise = float(np.square(signal.astype(np.float64) - found).sum())
    power = float(np.square(signal.astype(np.float64)).sum())
    return min(200.0, 10 * float(np.log10(power / noise))) if noise > 0 and power > 0 else 200.0


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
    interpreter = _interpreter(content)
    (entry,) = interpreter.get_input_details()
    outputs = [int(output["index"]) for output in interpreter.get_output_details()]
    levels = len(outputs) // 2
    codes, logits = [], []
    for image in images:
        values: NDArray[Any] = image[None]
        if entry["dtype"] == np.float32:
            values = normalise_array(values)
        interpreter.set_tensor(entry["index"], values)
        interpreter.invoke()
        found = [interpreter.get_tensor(index) for index in outputs]
        codes.append(np.concatenate(found[:levels], axis=1))
        logits.append(np.concatenate(found[levels:], axis=1))
    return RawOutputs(box_codes=np.concatenate(codes), scores=_sigmoid(np.concatenate(logits)))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))), dtype=np.float32)


def _interpreter(content: bytes) -> Interpreter:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
