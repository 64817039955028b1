"""Trains an elastic detector, or one subnet of it."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.models.launch import is_first_rank
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train


def run(config: TrainConfig) -> None:
    """Trains, and prints where the model is."""
    result = train(config)
    if is_first_rank():
        print(f"wrote {result.model_file}")


main = command(
    "train", "Train an elastic detector, or one subnet of it.", TrainConfig, run, presets="train", ranks=True
)
