from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ofa_det.arch.detector import DetectorConfig, ssd_anchor_sizes
from ofa_det.arch.subnet import BlockConfig, SubnetConfig
from ofa_det.data.categories import Category
from ofa_det.data.generated import generate_dataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.models.detector import Detector
from ofa_det.models.run_folder import TrainedDetector

RESOLUTION = 64


@pytest.fixture(scope="session")
def shapes_config(tmp_path_factory) -> DataConfig:
    root = generate_dataset(tmp_path_factory.mktemp("shapes"), num_train=12, num_val=4, image_size=(96, 128))
    return DataConfig(root=str(root))


@pytest.fixture(scope="session")
def trained(shapes_config) -> TrainedDetector:
    """A random detector of the generated data set, whose category ids have gaps, with batch-norm statistics."""
    torch.manual_seed(0)
    block = BlockConfig(kernel_size=3, expand_ratio=3)
    subnet = SubnetConfig(resolution=RESOLUTION, stages=((block,),) * 5)
    categories: tuple[Category, ...] = open_split(shapes_config, "train").categories
    detector = Detector(DetectorConfig(num_classes=len(categories), anchor_sizes=ssd_anchor_sizes(0.1)), subnet)
    for name, module in detector.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
        if name.endswith(".project") and "levels" in name:
            nn.init.normal_(module.weight, std=0.3)
            nn.init.normal_(module.bias, mean=-2.0 if "score" in name else 0.0, std=1.0)
    with torch.no_grad():
        for _ in range(20):
            detector(torch.rand(4, 3, RESOLUTION, RESOLUTION) * 2 - 1)
    return TrainedDetector(detector=detector.eval(), categories=categories)


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Noise with a bright and a dark half, never 0 or 255."""
    generator = np.random.default_rng(0)
    noise = generator.integers(40, 200, (6, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    noise[:, :, : RESOLUTION // 2] //= 2
    return list(noise)
