"""Trained networks on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.detector import detector_plan
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.model_file import MODEL_FILE, description_header, read_description
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.supernet import Supernet

NetworkT = TypeVar("NetworkT", bound=DetectionNetwork)


@dataclass(frozen=True, kw_only=True)
class Trained(Generic[NetworkT]):
    """A network in eval mode and what it is."""

    network: NetworkT
    description: ModelDescription


def save_model(run_folder: str | Path, description: ModelDescription, network: DetectionNetwork) -> None:
    """Writes weights with their description in the header, atomically; makes the folder."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write_atomically(Path(run_folder) / MODEL_FILE, save(tensors, metadata=description_header(description)))


def load_detector(run_folder: str | Path) -> Trained[Detector]:
    """Loads a detector.

    Raises:
        FileNotFoundError: no model in the folder.
        ValueError: the folder holds a supernet, or a broken file.
    """
    description = read_description(run_folder)
    if description.subnet is None:
        raise ValueError(
            f"expected a detector in {run_folder}, found a supernet; search a subnet and fine-tune it with "
            "train_det --supernet --subnet"
        )
    _check_has_weights(run_folder, description)
    return _load(run_folder, Detector(description.detector, description.subnet), description)


def load_supernet(run_folder: str | Path) -> Trained[Supernet]:
    """Loads a supernet.

    Raises:
        FileNotFoundError: no model in the folder.
        ValueError: the folder holds a detector of one subnet, or a broken file.
    """
    description = read_description(run_folder)
    if description.subnet is not None:
        raise ValueError(f"expected a supernet in {run_folder}, found a detector of one subnet")
    _check_has_weights(run_folder, description)
    return _load(run_folder, Supernet(description.detector), description)


def _check_has_weights(run_folder: str | Path, description: ModelDescription) -> None:
    """Refuses a network that its file cannot fill, before memory is taken for it: the header is only a claim."""
    path = Path(run_folder) / MODEL_FILE
    stated = detector_plan(description.detector, description.subnet or description.detector.space.largest()).parameters
    with safe_open(path, framework="numpy") as file:
        held = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118 - no mapping
    if held < stated:
        raise ValueError(f"expected {stated} weights in {path}, as its header states, found {held}; train it anew")


def _load(run_folder: str | Path, network: NetworkT, description: ModelDescription) -> Trained[NetworkT]:
    path = Path(run_folder) / MODEL_FILE
    try:
        found, expected = load_file(path), network.state_dict()
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch does not have.
        raise ValueError(
            f"expected weights in {path}, found a cut or damaged file; copy it anew, or train anew"
        ) from error
    for key in sorted(found.keys() | expected.keys()):
        shapes = [tuple(state[key].shape) if key in state else "none" for state in (expected, found)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"expected {key} of shape {shapes[0]} in {path}, found {shapes[1]}; train it anew")
    network.load_state_dict(found)
    network.eval()
    return Trained(network=network, description=description)
