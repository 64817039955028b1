"""Trained networks on disk: `model.safetensors`, whose header says what network its weights belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.files import write_atomically
from ofa_det.arch.search_space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.categories import Category
from ofa_det.models.detector import Detector
from ofa_det.models.supernet import Supernet

SCHEMA_VERSION = 1
MODEL_FILE = "model.safetensors"
_HEADER_KEY = "ofa_det"


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What network a run folder holds.

    Args:
        detector: what all its subnets share.
        architecture: the space of a supernet, the subnet of a static detector.
        categories: the object classes, in the order of the labels.
        holdout_fraction: part of the training images that it was not trained on, kept for scoring subnets.
        training_images: fingerprint of the images that it was trained on.
    """

    detector: DetectorConfig
    architecture: SearchSpace | SubnetConfig
    categories: tuple[Category, ...]
    holdout_fraction: float = 0.0
    training_images: str = ""

    def __post_init__(self) -> None:
        if len(self.categories) != self.detector.num_classes:
            raise ValueError(f"expected {self.detector.num_classes} categories, found {len(self.categories)}")


@dataclass(frozen=True, kw_only=True)
class TrainedDetector:
    """A static detector in eval mode and its object classes."""

    detector: Detector
    categories: tuple[Category, ...]


@dataclass(frozen=True, kw_only=True)
class TrainedSupernet:
    """A supernet in eval mode, its object classes, and which images it was trained on (see `ModelDescription`)."""

    supernet: Supernet
    categories: tuple[Category, ...]
    holdout_fraction: float
    training_images: str


def save_model(run_folder: str | Path, description: ModelDescription, state: Mapping[str, Tensor]) -> None:
    """Writes weights with their description in the header, atomically.

    Args:
        run_folder: made if missing.
        description: of the network.
        state: its state dict.
    """
    header = {
        "schema_version": SCHEMA_VERSION,
        "kind": "supernet" if isinstance(description.architecture, SearchSpace) else "detector",
        "detector": description.detector.to_json(),
        "architecture": description.architecture.to_json(),
        "categories": [{"id": c.id, "name": c.name} for c in description.categories],
        "holdout_fraction": description.holdout_fraction,
        "training_images": description.training_images,
    }
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    write_atomically(Path(run_folder) / MODEL_FILE, save(tensors, metadata={_HEADER_KEY: json.dumps(header)}))


def read_description(run_folder: str | Path) -> ModelDescription:
    """Reads what network a run folder holds, without its weights.

    Raises:
        FileNotFoundError: no model in the folder.
        ValueError: a file of another kind or schema version.
    """
    path = Path(run_folder) / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a run folder with {MODEL_FILE}, found none in {run_folder}; was its training finished?"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {}).get(_HEADER_KEY, "{}"))
    except SafetensorError as error:
        raise ValueError(f"expected weights in {path}, found {error}") from error
    if header.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"expected {path} of schema_version {SCHEMA_VERSION}, found {header.get('schema_version')}")
    architecture = SearchSpace if header["kind"] == "supernet" else SubnetConfig
    return ModelDescription(
        detector=DetectorConfig.from_json(header["detector"]),
        architecture=architecture.from_json(header["architecture"]),
        categories=tuple(Category(id=c["id"], name=c["name"]) for c in header["categories"]),
        holdout_fraction=header["holdout_fraction"],
        training_images=header["training_images"],
    )


def load_detector(run_folder: str | Path) -> TrainedDetector:
    """Loads a static detector.

    Raises:
        FileNotFoundError: no model in the folder.
        ValueError: the folder holds a supernet, or a broken file.
    """
    description = read_description(run_folder)
    if not isinstance(description.architecture, SubnetConfig):
        raise ValueError(
            f"expected a detector in {run_folder}, found a supernet; search a subnet and fine-tune it with "
            "train_det --supernet --subnet"
        )
    detector = Detector(description.detector, description.architecture)
    detector.load_state_dict(load_file(Path(run_folder) / MODEL_FILE))
    return TrainedDetector(detector=detector.eval(), categories=description.categories)


def load_supernet(run_folder: str | Path) -> TrainedSupernet:
    """Loads a supernet.

    Raises:
        FileNotFoundError: no model in the folder.
        ValueError: the folder holds a static detector, or a broken file.
    """
    description = read_description(run_folder)
    if not isinstance(description.architecture, SearchSpace):
        raise ValueError(f"expected a supernet in {run_folder}, found a detector of one subnet")
    supernet = Supernet(description.detector, description.architecture)
    supernet.load_state_dict(load_file(Path(run_folder) / MODEL_FILE))
    return TrainedSupernet(
        supernet=supernet.eval(),
        categories=description.categories,
        holdout_fraction=description.holdout_fraction,
        training_images=description.training_images,
    )
