"""Supernets on disk without a training."""

from pathlib import Path

from ofa_det.arch.description import ModelDescription
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.model_file import CONFIG_FILE
from ofa_det.artefacts.records import to_yaml
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.models.run_folder import save_model
from ofa_det.models.supernet import Supernet


def write_supernet(folder: Path, description: ModelDescription, network: Supernet | None = None) -> None:
    """Writes what a training leaves that scoring of subnets reads: weights, and how images were varied."""
    save_model(folder, description, network or Supernet(description.detector))
    write_atomically(folder / CONFIG_FILE, to_yaml({"augmentation": AugmentationConfig()}))
