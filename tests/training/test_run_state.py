import json

import pytest
import torch
from torch import nn

from ofa_det.training.averaging import WeightAverage
from ofa_det.training.checkpoint import load_checkpoint, save_checkpoint
from ofa_det.training.metrics_log import MetricsLog


def test_the_average_moves_by_one_less_the_decay():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    average = WeightAverage(network)
    nn.init.constant_(network.weight, 2.0)
    average.update(network, 0.75)
    assert average.values["weight"].item() == 1.25
    average.copy_to(network)
    assert network.weight.item() == 1.25


def test_a_checkpoint_comes_back_and_its_absence_is_no_error(tmp_path):
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, {"next_step": 3, "network": {"weight": torch.ones(2)}})
    state = load_checkpoint(tmp_path)
    assert state["next_step"] == 3
    assert torch.equal(state["network"]["weight"], torch.ones(2))


def test_a_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="expected a checkpoint"):
        load_checkpoint(tmp_path)


def test_a_resumed_log_drops_the_steps_it_repeats_and_a_torn_line(tmp_path):
    with MetricsLog(tmp_path, 0, 0) as log:
        for step in range(4):
            log.write(step, 8 * step, {"loss": 1.0})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "ima')
    with MetricsLog(tmp_path, 2, 16) as log:
        log.write(2, 16, {"loss": 0.5})
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["step"], r["loss"]) for r in records] == [(0, 1.0), (1, 1.0), (2, 0.5)]
