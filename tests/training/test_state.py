from pathlib import Path

import pytest
import torch
from torch import nn

from ofa_det.training.schedule import ScheduleConfig
from ofa_det.training.state import WeightAverage, load_checkpoint, save_checkpoint


def scale(value: float) -> nn.Module:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.constant_(network[0].weight, value)
    return network


def test_the_average_moves_by_one_less_the_decay() -> None:
    network = scale(1.0)
    average = WeightAverage(network)
    nn.init.constant_(network[0].weight, 2.0)
    average.update(network, 0.75)
    assert average.values["0.weight"].item() == 1.25
    assert network[0].weight.item() == 2.0


def test_three_steps_by_hand() -> None:
    network, schedule = scale(100.0), ScheduleConfig(ema_decay=0.5)
    average = WeightAverage(network)
    for step, value in enumerate((1.0, 2.0, 4.0)):
        nn.init.constant_(network[0].weight, value)
        average.update(network, schedule.ema_decay_at(step))
    # (1/4 + 2/2 + 4) / (1/4 + 1/2 + 1): what the network was before training has no part in it.
    assert average.values["0.weight"].item() == pytest.approx(5.25 / 1.75)


def test_a_copy_gets_the_average_and_the_network_keeps_its_weights() -> None:
    network = scale(1.0).train()
    average = WeightAverage(network)
    nn.init.constant_(network[0].weight, 3.0)
    nn.init.constant_(network[1].running_mean, 5.0)
    averaged = average.applied_to(network)
    assert averaged[0].weight.item() == 1.0
    assert averaged[1].running_mean.item() == 5.0  # a buffer, which is not averaged
    assert not averaged.training
    assert network.training
    assert network[0].weight.item() == 3.0


def test_saved_values_are_taken() -> None:
    average, other = WeightAverage(scale(1.0)), WeightAverage(scale(2.0))
    average.load(other.values)
    average.update(scale(4.0), 0.5)
    assert average.values["0.weight"].item() == 3.0
    assert other.values["0.weight"].item() == 2.0


def test_a_checkpoint_comes_back_and_its_absence_is_no_error(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, {"next_step": 3, "network": {"weight": torch.ones(2)}})
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["next_step"] == 3
    assert torch.equal(state["network"]["weight"], torch.ones(2))


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"next_step": 3})
    whole = (tmp_path / "last.ckpt").read_bytes()
    for content in (b"torn", whole[:100], b""):
        (tmp_path / "last.ckpt").write_bytes(content)
        with pytest.raises(ValueError, match=r"expected a checkpoint in .*last\.ckpt"):
            load_checkpoint(tmp_path)


def test_a_checkpoint_of_another_schema_is_refused(tmp_path: Path) -> None:
    torch.save({"schema_version": 1, "next_step": 3}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt of schema_version 3, found 1"):
        load_checkpoint(tmp_path)
