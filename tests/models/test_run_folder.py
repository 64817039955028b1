import pytest
import torch

from ofa_det.arch.detector import BackboneConfig, DetectorConfig
from ofa_det.arch.search_space import SearchSpace
from ofa_det.data.categories import Category
from ofa_det.models.detector import Detector
from ofa_det.models.run_folder import ModelDescription, load_detector, load_supernet, read_description, save_model
from ofa_det.models.supernet import Supernet

SPACE = SearchSpace(resolutions=(64,), depths=(1,), expand_ratios=(3,), kernel_sizes=(3, 5))
CONFIG = DetectorConfig(num_classes=2, backbone=BackboneConfig(width_mult=0.25, last_width=64))
CATEGORIES = (Category(id=3, name="ring"), Category(id=17, name="star"))


def description(architecture):
    return ModelDescription(detector=CONFIG, architecture=architecture, categories=CATEGORIES, holdout_fraction=0.1)


def test_a_detector_comes_back_the_same(tmp_path):
    detector = Detector(CONFIG, SPACE.largest()).eval()
    save_model(tmp_path, description(SPACE.largest()), detector.state_dict())
    loaded = load_detector(tmp_path)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.detector(images).logits, detector(images).logits)
    assert loaded.categories == CATEGORIES
    assert read_description(tmp_path) == description(SPACE.largest())
    with pytest.raises(ValueError, match="expected a supernet"):
        load_supernet(tmp_path)


def test_a_supernet_comes_back_the_same(tmp_path):
    supernet = Supernet(CONFIG, SPACE).eval()
    save_model(tmp_path, description(SPACE), supernet.state_dict())
    loaded = load_supernet(tmp_path)
    images = torch.randn(1, 3, 64, 64)
    subnet = SPACE.smallest()
    assert torch.equal(loaded.supernet(images, subnet).logits, supernet(images, subnet).logits)
    assert loaded.holdout_fraction == 0.1
    with pytest.raises(ValueError, match="search a subnet"):
        load_detector(tmp_path)


def test_what_is_no_run_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_detector(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="expected weights"):
        load_detector(tmp_path)
    with pytest.raises(ValueError, match="expected 2 categories"):
        ModelDescription(detector=CONFIG, architecture=SPACE, categories=CATEGORIES[:1])
