"""Scores a detector by COCO's metrics."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.evaluation.run import EvaluateConfig, evaluate


def run(config: EvaluateConfig) -> None:
    """Evaluates, and prints a table."""
    metrics = evaluate(config)
    images = f"{metrics.record.images} {config.split} images of {config.data.root}"
    print(f"{config.model} on {images}, in percent\n{metrics.table()}\nwritten to {config.output}")


main = command("eval", "Score a detector by COCO's twelve numbers.", EvaluateConfig, run)
