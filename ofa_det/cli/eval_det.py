"""Scores a detector by COCO's metrics."""

from __future__ import annotations

from ofa_det.artefacts.records import to_plain
from ofa_det.cli.command import Printed, command
from ofa_det.evaluation.run import EvaluateConfig, evaluate


def run(config: EvaluateConfig) -> Printed:
    """Evaluates; gives a table."""
    metrics = evaluate(config)
    images = f"{metrics.record.images} {config.split} images of {config.data.root}"
    return Printed(
        text=f"{config.model} on {images}, in percent\n{metrics.table()}\nwritten to {config.output}",
        values={"model": config.model, "output": config.output, **to_plain(metrics.record)},
    )


main = command("eval", "Score a detector by COCO's twelve numbers.", EvaluateConfig, run)
