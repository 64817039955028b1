"""Which trainings a build ends with, and for how long."""

from dataclasses import replace

import pytest

from ofa_det.artefacts.build_record import BuildFolder
from ofa_det.artefacts.evaluations import ChosenSubnet
from ofa_det.artefacts.records import write_record
from ofa_det.building import detector_plan
from ofa_det.building.choices import Spending
from ofa_det.building.config import BuildConfig
from ofa_det.building.configurations import evaluate_config, export_config
from ofa_det.building.detector_plan import plan_detectors
from ofa_det.building.plan import Plan
from ofa_det.building.trainings import SHIPPED
from ofa_det.data.splits import DataConfig
from ofa_det.training.config import TrainConfig

CAPS_MS = (20.0, 37.5, 80.0)


@pytest.fixture
def plan() -> Plan:
    spending = Spending(supernet_images=100, search_subnets=4, supernet_s=10.0, search_s=5.0)
    return Plan(
        trainings=SHIPPED["general"], pretrained=None, space="tiny", elastic=True, whole={}, spending=spending,
        supernet_speed=10.0, file_s=60.0, notes=(),
    )  # fmt: skip


@pytest.fixture
def trainings(tiny_space, tmp_path) -> dict[float, TrainConfig]:
    """Of three caps, of which the first two got one network: once written out, once as a file."""
    data = DataConfig(root="DATA")
    small, large = tiny_space.smallest(), tiny_space.largest()
    written = ChosenSubnet(subnet=small)
    write_record(tmp_path / "subnet.json", written)
    subnets = (str(small), str(tmp_path / "subnet.json"), str(large))
    return {cap: TrainConfig(data=data, subnet=subnet) for cap, subnet in zip(CAPS_MS, subnets, strict=True)}


def test_caps_of_one_network_share_its_training(plan, trainings, tmp_path):
    config = BuildConfig(data=DataConfig(root="DATA"), latency_cap_ms=CAPS_MS, finetune_images=64)
    detectors = plan_detectors(config, plan, trainings, seconds_left=3600.0)
    assert detectors.images == 64
    assert [detectors.training_cap_ms(cap) for cap in CAPS_MS] == [20.0, 20.0, 80.0]
    assert detectors.notes == ("20ms and 37.5ms got one and the same network, which is trained once",)
    folder = BuildFolder(tmp_path)
    exported = export_config(config, folder, 37.5, trained_ms=20.0)
    scored = evaluate_config(config, folder, 37.5, "float", trained_ms=20.0)
    assert exported.model == scored.model == str(tmp_path / "detector_20ms")
    assert exported.output == str(tmp_path / "export_37.5ms")


def test_what_a_shared_training_spares_is_spent_on_images(plan, trainings, tiny_root, monkeypatch, caplog):
    config = BuildConfig(data=DataConfig(root=str(tiny_root)), latency_cap_ms=CAPS_MS)
    timed = []
    monkeypatch.setattr(detector_plan, "training_speed", lambda training: timed.append(training) or 10.0)
    alone = {cap: replace(training, subnet=trainings[80.0].subnet) for cap, training in trainings.items()}
    shared = plan_detectors(config, plan, trainings, seconds_left=1_000.0)
    one = plan_detectors(config, plan, alone, seconds_left=1_000.0)
    assert [training.subnet for training in timed] == [trainings[cap].subnet for cap in (20.0, 80.0, 80.0)]
    # 1,000 s less 60 for each of three files: two trainings at 10 images/s, or one.
    assert (shared.images, one.images) == (4_100, 8_000)
    assert shared.speeds == {"20ms": 10.0, "80ms": 10.0}
    assert caplog.messages == ["each detector draws 4,100 images, which is little: 8,000 would take --hours 2.4"]


def test_too_short_a_training_is_warned_of_before_it_begins(plan, trainings, tiny_root, monkeypatch, caplog):
    config = BuildConfig(data=DataConfig(root=str(tiny_root)), latency_cap_ms=CAPS_MS[2:], hours=0.1)
    monkeypatch.setattr(detector_plan, "training_speed", lambda training: 0.1)
    monkeypatch.setattr(detector_plan, "detector_images", lambda *_, **__: 24)
    plan_detectors(config, plan, {80.0: trainings[80.0]}, seconds_left=300.0)
    assert caplog.messages == ["each detector draws 24 images, which is little: 8,000 would take --hours 33.3"]
