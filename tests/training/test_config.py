import pytest

from ofa_det.arch.description import PostProcessConfig
from ofa_det.data.anchors import AnchorConfig
from ofa_det.data.splits import DataConfig
from ofa_det.training.config import TrainConfig
from ofa_det.training.schedule import PhaseConfig, ScheduleConfig

DATA = DataConfig(root="DATA")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("space", "ssdlite_mbv3_tiny"),
        ("anchors", AnchorConfig(source="ssd")),
        ("postprocess", PostProcessConfig(max_detections=10)),
        ("pretrained", "efficientnet_lite0"),
    ],
)
def test_what_comes_with_a_supernet_is_refused_beside_it(option: str, value: object) -> None:
    assert TrainConfig(data=DATA, supernet="runs/supernet", subnet="subnet.json").supernet == "runs/supernet"
    with pytest.raises(ValueError, match=f"expected no --{option} with --supernet"):
        TrainConfig(data=DATA, supernet="runs/supernet", subnet="subnet.json", **{option: value})


@pytest.mark.parametrize("given", [{"supernet": "runs/supernet"}, {"resolutions": (64, 96)}])
def test_what_needs_a_subnet_is_refused_without_one(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"expected --subnet with --{next(iter(given))}, found none"):
        TrainConfig(data=DATA, **given)


def test_one_subnet_has_no_phases() -> None:
    schedule = ScheduleConfig(num_images=100, phases=(PhaseConfig(num_images=100),))
    assert TrainConfig(data=DATA, schedule=schedule).schedule.phases
    with pytest.raises(ValueError, match=r"expected no schedule\.phases with --subnet, .* found 1"):
        TrainConfig(data=DATA, schedule=schedule, subnet="subnet.json")


def test_a_mistake_of_a_later_phase_is_refused_at_once() -> None:
    phases = (PhaseConfig(num_images=100), PhaseConfig(num_images=100, distill_weight=0.0, distillation="replaces"))
    with pytest.raises(ValueError, match="distill_weight > 0 where distillation replaces the labels"):
        TrainConfig(data=DATA, schedule=ScheduleConfig(num_images=200, phases=phases))


@pytest.mark.parametrize(
    "mistake",
    [
        {"calibration_images": 1},
        {"checkpoint_every": 0},
        {"validate_every": 0},
        {"num_workers": -1},
        {"watched_subnets": -1},
    ],
)
def test_mistakes_are_named(mistake: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(mistake))):
        TrainConfig(data=DATA, **mistake)
