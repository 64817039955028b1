from pathlib import Path

import pytest
import torch

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.data.generated import CATEGORIES
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import save_model


@pytest.fixture(scope="session")
def detector_folder(tiny_space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of an untrained detector of the generated categories."""
    torch.manual_seed(0)
    description = ModelDescription(
        detector=DetectorConfig.of(tiny_space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes()),
        subnet=tiny_space.smallest(),
        categories=CATEGORIES,
        postprocess=PostProcessConfig(score_threshold=0.001),
    )
    folder = tmp_path_factory.mktemp("run") / "det"
    save_model(folder, description, Detector(description.detector, tiny_space.smallest()))
    return folder
