from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained

RESOLUTION = 64


def _randomised(description: ModelDescription, subnet: SubnetConfig) -> Trained[Detector]:
    torch.manual_seed(0)
    detector = Detector(description.detector, subnet)
    for name, module in detector.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
        if name.endswith(".project") and hasattr(module, "weight") and "levels" in name:
            nn.init.normal_(module.weight, std=0.3)
            nn.init.normal_(module.bias, mean=-2.0 if "score" in name else 0.0, std=1.0)
    with torch.no_grad():
        for _ in range(20):
            detector(torch.rand(4, 3, subnet.resolution, subnet.resolution) * 2 - 1, subnet)
    return Trained(network=detector.eval(), description=replace(description, subnet=subnet))


@pytest.fixture(scope="session")
def randomised() -> Callable[[ModelDescription, SubnetConfig], Trained[Detector]]:
    """Makes a random detector with batch-norm statistics, whose outputs vary as much as a trained one's."""
    return _randomised


@pytest.fixture(scope="session")
def shapes_config(tiny_root: Path) -> DataConfig:
    return DataConfig(root=str(tiny_root))


@pytest.fixture(scope="session")
def trained(shapes_config: DataConfig, tiny_space: SearchSpace) -> Trained[Detector]:
    """A random detector of the generated data set, whose category ids have gaps."""
    categories: tuple[Category, ...] = open_split(shapes_config, "train").categories
    description = ModelDescription(
        detector=DetectorConfig.of(tiny_space, num_classes=len(categories), anchor_sizes=ssd_anchor_sizes(6, 0.1)),
        subnet=None,
        categories=categories,
        postprocess=PostProcessConfig(score_threshold=0.05, iou_threshold=0.5),
    )
    return _randomised(description, tiny_space.smallest(RESOLUTION))


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Noise with a bright and a dark half, never 0 or 255."""
    generator = np.random.default_rng(0)
    noise = generator.integers(40, 200, (6, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    noise[:, :, : RESOLUTION // 2] //= 2
    return list(noise)
