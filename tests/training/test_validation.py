from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import OneSubnet, SearchSpace
from ofa_det.arch.stages import OpenChoices
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.detection.detections import Detections
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.supernet import Supernet
from ofa_det.training.metrics_log import MetricsLog
from ofa_det.training.validation import Validator, watched_subnets


def test_a_space_is_watched_at_its_extremes_of_the_largest_resolution(tiny_space: SearchSpace) -> None:
    extremes = {"AP_largest": tiny_space.largest(96), "AP_smallest": tiny_space.smallest(96)}
    assert watched_subnets(tiny_space) == extremes


def test_random_subnets_are_watched_too_the_same_in_every_training(tiny_space: SearchSpace) -> None:
    three = watched_subnets(tiny_space, 3)
    assert list(three) == ["AP_largest", "AP_smallest", "AP_1", "AP_2", "AP_3"]
    assert len(set(three.values())) == 5
    assert {subnet.resolution for subnet in three.values()} == {96}
    assert all(subnet in tiny_space for subnet in three.values())
    assert three == watched_subnets(replace(tiny_space), 3)
    assert watched_subnets(tiny_space, 1) == {name: three[name] for name in ("AP_largest", "AP_smallest", "AP_1")}
    # A space of four subnets has two between its extremes.
    to = OpenChoices(kernel_choices=1, depth_choices=1)
    first = replace(tiny_space.backbone, stages=tiny_space.stages[:2])
    few = replace(tiny_space, backbone=first).restricted(to)
    assert few.count() == 2 * 4
    assert list(watched_subnets(few, 3)) == ["AP_largest", "AP_smallest", "AP_1", "AP_2"]


def test_one_subnet_is_watched_as_it_ships(tiny_space: SearchSpace) -> None:
    subnet = tiny_space.largest(64)
    assert watched_subnets(OneSubnet(subnet=subnet, resolutions=(64, 96)), 3) == {"AP": subnet}


class Finder:
    """Finds nothing, in images of the subnet's resolution."""

    def __init__(self, resolution: int) -> None:
        self.input_size = (resolution, resolution)

    def predict(self, images: np.ndarray) -> list[Detections]:
        assert images.shape[1:3] == self.input_size
        none = np.zeros(0, np.float32)
        return [Detections(boxes=none.reshape(0, 4), scores=none, category_ids=none.astype(np.int64)) for _ in images]


class Scorer:
    """AP is a hundredth of the number of blocks."""

    def predictor(self, network: DetectionNetwork, subnet: SubnetConfig) -> Finder:
        assert subnet in network.subnets
        self._ap = sum(map(len, subnet.stages)) / 100
        return Finder(subnet.resolution)

    def score(self, predictor: Finder) -> SimpleNamespace:
        return SimpleNamespace(ap=self._ap)


def test_each_watched_subnet_is_scored_and_the_first_is_drawn(
    shallow: DetectorConfig, tiny_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = open_split(DataConfig(root=str(tiny_root)), "val")
    torch.manual_seed(0)
    validator = Validator(Scorer(), dataset, tmp_path)
    with MetricsLog(tmp_path, 0, 0) as log, caplog.at_level("INFO"):
        assert validator(Supernet(shallow).eval(), 48, log) == {"AP_largest": 0.11, "AP_smallest": 0.06}
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["0000048.jpg"]
    assert "48 images, in percent: AP_largest 11.0, AP_smallest 6.0" in caplog.text


def test_random_subnets_are_scored_and_not_drawn(shallow: DetectorConfig, tiny_root: Path, tmp_path: Path) -> None:
    dataset = open_split(DataConfig(root=str(tiny_root)), "val")
    validator = Validator(Scorer(), dataset, tmp_path, random_subnets=2)
    with MetricsLog(tmp_path, 0, 0) as log:
        aps = validator(Supernet(shallow).eval(), 48, log)
    assert list(aps) == ["AP_largest", "AP_smallest", "AP_1", "AP_2"]
    assert 0.06 <= min(aps["AP_1"], aps["AP_2"]) <= max(aps["AP_1"], aps["AP_2"]) <= 0.11
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_who_does_not_draw_scores_as_well(shallow: DetectorConfig, tiny_root: Path, tmp_path: Path) -> None:
    validator = Validator(Scorer(), open_split(DataConfig(root=str(tiny_root)), "val"), tmp_path / "run", draws=False)
    with MetricsLog(tmp_path, 0, 0) as log:
        assert list(validator(Supernet(shallow).eval(), 48, log)) == ["AP_largest", "AP_smallest"]
    assert not (tmp_path / "run").exists()
