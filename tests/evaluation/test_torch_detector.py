from dataclasses import replace

import numpy as np
import pytest
import torch

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space
from ofa_det.detection.box_coder import encode
from ofa_det.detection.detections import DetectorOutput
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.network import Detector

SPACE = read_space("ssdlite_mbv3_tiny")
SUBNET = SPACE.smallest(64)
DESCRIPTION = ModelDescription(
    detector=DetectorConfig.of(SPACE, num_classes=2, anchor_sizes=ssd_anchor_sizes()),
    subnet=SUBNET,
    categories=(Category(id=2, name="circle"), Category(id=24, name="star")),
    postprocess=PostProcessConfig(score_threshold=0.1),
)


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    return Detector(DESCRIPTION.detector, SUBNET)


def test_outputs_become_detections_with_category_ids(detector, monkeypatch):
    """Of a made-up output: two anchors on one object, one on another of the other class, the rest silent."""
    wanted = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.6, 0.1, 0.9, 0.4]])
    anchors = detector.anchors(SUBNET)
    codes = torch.zeros(1, len(anchors), 4)
    logits = torch.full((1, len(anchors), 2), -10.0)
    for anchor, (target, label, logit) in {3: (0, 1, 2.0), 5: (0, 1, 1.0), 9: (1, 0, 0.0)}.items():
        codes[0, anchor] = encode(wanted[target], anchors[anchor])
        logits[0, anchor, label] = logit
    monkeypatch.setattr(detector, "forward", lambda images, subnet: DetectorOutput(codes, logits))
    (found,) = TorchDetector(detector, DESCRIPTION).predict(np.zeros((1, 64, 64, 3), np.uint8))
    np.testing.assert_allclose(found.boxes, wanted, atol=1e-5)
    np.testing.assert_allclose(found.scores, torch.tensor([2.0, 0.0]).sigmoid(), rtol=1e-6)
    assert found.category_ids.tolist() == [24, 2]


def test_batches_do_not_matter_and_batch_norm_stays(detector):
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    everything = replace(DESCRIPTION, postprocess=PostProcessConfig(score_threshold=1e-9))
    predictor = TorchDetector(detector.train(), everything)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    together = predictor.predict(images)
    alone = [predictor.predict(image[None])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a) == 100
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_suppression_is_that_of_the_description(detector):
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    few = replace(DESCRIPTION, postprocess=PostProcessConfig(score_threshold=1e-9, max_detections=7))
    assert len(TorchDetector(detector, few).predict(images)[0]) == 7
    none = replace(DESCRIPTION, postprocess=PostProcessConfig(score_threshold=1))
    assert len(TorchDetector(detector, none).predict(images)[0]) == 0


def test_images_of_another_size_are_refused(detector):
    assert TorchDetector(detector, DESCRIPTION).input_size == (64, 64)
    with pytest.raises(ValueError, match="expected uint8"):
        TorchDetector(detector, DESCRIPTION).predict(np.zeros((1, 32, 64, 3), np.uint8))
