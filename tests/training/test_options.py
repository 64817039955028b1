from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ofa_det.artefacts.model_file import CONFIG_FILE
from ofa_det.artefacts.records import to_yaml
from ofa_det.data.splits import DataConfig
from ofa_det.detection.assignment import AssignerConfig
from ofa_det.detection.losses import LossConfig
from ofa_det.training.config import TrainConfig
from ofa_det.training.options import warn_of_other_meaning
from ofa_det.training.quantization import QuantizeConfig

BEFORE = TrainConfig(
    data=DataConfig(root="DATA"), assigner=AssignerConfig(kind="task_aligned"), losses=LossConfig(box="giou")
)


@pytest.fixture
def goes_on(tmp_path: Path) -> TrainConfig:
    """A training that goes on with a detector of `BEFORE`, as it learnt."""
    (tmp_path / CONFIG_FILE).write_text(to_yaml(BEFORE))
    return replace(BEFORE, quantize=QuantizeConfig(detector=str(tmp_path)))


def test_weights_that_learn_as_before_go_without_a_word(goes_on, caplog):
    warn_of_other_meaning(BEFORE)
    warn_of_other_meaning(goes_on)
    (Path(goes_on.detector) / CONFIG_FILE).write_text("- no options\n")
    warn_of_other_meaning(replace(goes_on, assigner=AssignerConfig(kind="iou")))
    assert not caplog.records


def test_weights_that_meet_other_matching_or_losses_are_warned_of(goes_on, caplog):
    warn_of_other_meaning(replace(goes_on, assigner=AssignerConfig(kind="iou"), losses=LossConfig(box="smooth_l1")))
    assert caplog.messages == [
        f"{goes_on.detector} has learnt with --assigner.kind task_aligned --losses.box giou, found iou, smooth_l1; "
        "pass them as well, or a preset that has them"
    ]
