import json
from pathlib import Path

import numpy as np

from ofa_det.training.metrics_log import MetricsLog


def test_a_resumed_log_drops_the_steps_it_repeats_and_a_torn_line(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0, 0) as log:
        for step in range(4):
            log.write(step, 8 * step, {"loss": 1.0})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "ima')
    with MetricsLog(tmp_path, 2, 16) as log:
        log.write(2, 16, {"loss": 0.5})
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["step"], r["images"], r["loss"]) for r in records] == [(0, 0, 1.0), (1, 8, 1.0), (2, 16, 0.5)]


def test_figures_and_pictures_reach_tensorboard(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0, 0) as log:
        log.write(0, 8, {"loss": 1.0})
        log.write_picture(8, np.zeros((4, 4, 3), np.uint8))
    (events,) = tmp_path.glob("events.*")
    assert b"loss" in events.read_bytes()
    assert b"detections" in events.read_bytes()


def test_of_several_ranks_one_writes(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0, 0, active=False) as log:
        log.write(0, 8, {"loss": 1.0})
        log.write_picture(8, np.zeros((4, 4, 3), np.uint8))
    assert not list(tmp_path.iterdir())
