"""Verification of a classifier's file: its interface, and its probabilities against torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ofa_det.artefacts.tflite_content import open_interpreter
from ofa_det.detection.preprocessing import normalise
from ofa_det.export.layer_noise import LayerNoise
from ofa_det.export.verification import blame, sqnr_db
from ofa_det.models.classifier import Classifier

LEAST_SQNR_DB: Final = 6.0
"""Of the probabilities: noise of half the signal."""


@dataclass(frozen=True, kw_only=True)
class ClassifierAgreement:
    """File and torch on the same images.

    Args:
        images: that were compared.
        same_best_class: share of them for which both name the same.
        probability_error: largest difference of a probability.
        probability_sqnr_db: signal to quantization noise.
    """

    images: int
    same_best_class: float
    probability_error: float
    probability_sqnr_db: float


def check_classifier_interface(content: bytes, resolution: int, classes: int) -> None:
    """Refuses a file without OVIC's interface: one uint8 image in, uint8 probabilities (1, classes) out.

    Raises:
        ValueError: another input or output.
    """
    interpreter = open_interpreter(content)
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    found = [(entry["shape"].tolist(), np.dtype(entry["dtype"]).name) for entry in ends]
    wanted = [([1, resolution, resolution, 3], "uint8"), ([1, classes], "uint8")]
    if found != wanted:
        raise ValueError(f"expected input and output {wanted}, found {found}")


def compare_classifier(
    content: bytes, classifier: Classifier, images: Sequence[NDArray[np.uint8]], *, background: bool
) -> ClassifierAgreement:
    """Runs a file and the network that it was made from.

    Args:
        content: the file.
        classifier: the network.
        images: (H, W, 3) of the input's size.
        background: whether the file has a class before the network's.
    """
    found, wanted = _probabilities(content, classifier, images)
    if background:
        wanted = np.pad(wanted, ((0, 0), (1, 0)))
    return ClassifierAgreement(
        images=len(images),
        same_best_class=float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
        probability_error=float(np.abs(found - wanted).max()),
        probability_sqnr_db=sqnr_db(wanted, found),
    )


def check_classifier_agreement(
    agreement: ClassifierAgreement, least_agreement: float, layers: Sequence[LayerNoise]
) -> None:
    """Refuses a file that is too far from torch.

    Args:
        agreement: of the file.
        least_agreement: share of the images whose best class has to be that of torch.
        layers: noise of each layer, for the error.

    Raises:
        ValueError: too much noise, or too few images of one opinion.
    """
    if agreement.probability_sqnr_db < LEAST_SQNR_DB:
        raise ValueError(
            f"expected probabilities of {LEAST_SQNR_DB:g} dB signal to quantization noise at least, found "
            f"{agreement.probability_sqnr_db:.1f} on {agreement.images} images{blame(layers)}; calibrate with "
            "pictures such as it is to classify, or with other --ranges"
        )
    if agreement.same_best_class < least_agreement:
        raise ValueError(
            f"expected torch's best class for {least_agreement:g} of the images at least, found "
            f"{agreement.same_best_class:.2f} of {agreement.images}{blame(layers)}; calibrate with other "
            "--ranges, or lower --least_agreement"
        )


@torch.no_grad()
def _probabilities(
    content: bytes, classifier: Classifier, images: Sequence[NDArray[np.uint8]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of the file (B, outputs), and of torch (B, classes)."""
    interpreter = open_interpreter(content)
    (entry,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = output["quantization"]
    found, wanted = [], []
    for image in images:
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        steps = interpreter.get_tensor(output["index"])[0].astype(np.float32)
        found.append((steps - zero_point) * np.float32(scale))
        logits = classifier(normalise(torch.from_numpy(image[None]).permute(0, 3, 1, 2)))
        wanted.append(logits.softmax(dim=1)[0].numpy())
    return np.stack(found), np.stack(wanted)
