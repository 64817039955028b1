from pathlib import Path

import pytest
import torch
from torch import nn

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.generated import CATEGORIES, generate_dataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.models.run_folder import Trained
from ofa_det.models.supernet import Supernet


@pytest.fixture(scope="session")
def generated_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_dataset(tmp_path_factory.mktemp("shapes"), num_train=26, num_val=6, image_size=(96, 128))


@pytest.fixture
def shapes(generated_root: Path) -> CocoDataset:
    """26 images of shapes, one with a crowd."""
    return open_split(DataConfig(root=str(generated_root)), "train")


@pytest.fixture(scope="session")
def supernet(tiny_space: SearchSpace) -> Trained[Supernet]:
    """Random, with predictors that differ; the categories are those of the shapes."""
    torch.manual_seed(0)
    description = ModelDescription(
        detector=DetectorConfig.of(tiny_space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes()),
        subnet=None,
        categories=CATEGORIES,
        postprocess=PostProcessConfig(score_threshold=0.001, iou_threshold=0.5, max_detections=50),
    )
    network = Supernet(description.detector)
    plan = network.plan(tiny_space.largest())
    for name in plan.score_outputs:
        nn.init.normal_(network.get_parameter(f"{name}.weight"), std=0.3)
    return Trained(network=network.eval(), description=description)
