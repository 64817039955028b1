"""Trains an elastic detector, or one subnet of it."""

from __future__ import annotations

from ofa_det.cli.command import Printed, command
from ofa_det.models.launch import is_first_rank
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train


def run(config: TrainConfig) -> Printed | None:
    """Trains; gives where the model is."""
    result = train(config)
    if not is_first_rank():
        return None
    return Printed(text=f"wrote {result.model_file}", values={"model": str(result.model_file), "output": config.output})


main = command(
    "train",
    "Train an elastic detector, or one subnet of it.",
    TrainConfig,
    run,
    presets="train",
    ranks=True,
    numbered=True,
)
