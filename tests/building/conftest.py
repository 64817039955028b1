"""A larger detector for builds to learn from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.configs import read_space
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import save_model


@pytest.fixture(scope="session")
def necked_space() -> SearchSpace:
    """With a neck, as most that ship."""
    return replace(read_space("efficientnet_lite0"), resolutions=(96,))


@pytest.fixture(scope="session")
def teacher(necked_space: SearchSpace, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run folder of a detector with random weights."""
    dataset = open_split(DataConfig(root=str(tiny_root)), "train")
    sizes = [((0.1 * (level + 1),) * 2,) for level in range(len(necked_space.levels))]
    detector = DetectorConfig.of(necked_space, num_classes=len(dataset.categories), anchor_sizes=sizes)
    subnet = necked_space.smallest()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher") / "run"
    description = ModelDescription(
        detector=detector, subnet=subnet, categories=dataset.categories, postprocess=PostProcessConfig()
    )
    save_model(folder, description, Detector(detector, subnet))
    return str(folder)
