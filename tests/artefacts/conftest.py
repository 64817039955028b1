import pytest

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space


@pytest.fixture
def description() -> ModelDescription:
    """Of a detector of two classes, whose ids have a gap."""
    space = read_space("ssdlite_mbv3_tiny")
    return ModelDescription(
        detector=DetectorConfig.of(space, num_classes=2, anchor_sizes=ssd_anchor_sizes()),
        subnet=space.smallest(),
        categories=(Category(id=1, name="ring"), Category(id=4, name="star")),
        postprocess=PostProcessConfig(max_detections=10),
        holdout_fraction=0.1,
        training_images="abc",
    )
