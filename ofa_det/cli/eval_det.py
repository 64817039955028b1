"""Scores a detector by COCO's metrics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ofa_det.arch.files import write_atomically, write_json
from ofa_det.cli.command import command
from ofa_det.cli.device import checked_device
from ofa_det.data.splits import DataConfig, Split, open_split
from ofa_det.evaluation.contact_sheet import contact_sheet, write_picture
from ofa_det.evaluation.predictors import model_sha256, open_predictor
from ofa_det.evaluation.scoring import evaluate


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Evaluation of one detector on one split.

    Args:
        model: run folder, .onnx file, or any .tflite detector that ends in TFLite_Detection_PostProcess.
        data: the data set, in COCO layout.
        compare: another model, drawn beside this one in contact_sheet.jpg.
        split: images to score on: val, train, or the fit and holdout parts of train.
        output: folder for metrics.json, detections.json and contact_sheet.jpg.
        device: torch device for a run folder's network, for example cpu or cuda.
    """

    model: str
    data: DataConfig
    compare: str | None = None
    split: Split = "val"
    output: str = "runs/evaluation"
    device: str = "cpu"


def run(config: EvalConfig) -> None:
    """Evaluates, writes metrics.json, detections.json and contact_sheet.jpg, prints a table."""
    predictor = open_predictor(config.model, device=str(checked_device(config.device)))
    shown = {config.model: predictor}
    if config.compare is not None:
        shown[config.compare] = open_predictor(config.compare, device=str(checked_device(config.device)))
    dataset = open_split(config.data, config.split)
    metrics = evaluate(predictor, dataset, progress=True)
    output = Path(config.output)
    write_atomically(output / "detections.json", json.dumps(metrics.results, allow_nan=False))
    description = {
        "model": config.model,
        "model_sha256": model_sha256(config.model),
        "data_root": config.data.root,
        "split": config.split,
    }
    write_json(output / "metrics.json", metrics.to_json() | description)
    write_picture(output / "contact_sheet.jpg", contact_sheet(dataset, shown))
    print(f"{config.model} on {metrics.num_images} {config.split} images of {config.data.root}, in percent")
    print(metrics.table())
    print(f"written to {output}")


main = command("eval", "Score a detector by COCO's twelve numbers.", EvalConfig, run)
