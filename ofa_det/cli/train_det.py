"""Trains an elastic detector, or one subnet of it."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train


def run(config: TrainConfig) -> None:
    """Trains, and prints where the model is."""
    print(f"wrote {train(config).model_file}")


main = command("train", "Train an elastic detector, or one subnet of it.", TrainConfig, run, presets="train")
