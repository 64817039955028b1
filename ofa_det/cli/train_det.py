"""Trains an elastic detector, or one subnet of it."""

from __future__ import annotations

import os

from ofa_det.cli.command import command
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train


def run(config: TrainConfig) -> None:
    """Trains, and prints where the model is."""
    result = train(config)
    if os.environ.get("RANK", "0") == "0":  # Of the ranks of a torchrun the first alone writes.
        print(f"wrote {result.model_file}")


main = command("train", "Train an elastic detector, or one subnet of it.", TrainConfig, run, presets="train")
