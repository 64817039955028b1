"""Evaluation of one detector on one split."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import EvaluationRecord
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import write_record
from ofa_det.data.splits import DataConfig, Split, open_split
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.pictures import contact_sheet, write_picture
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import score


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluation of one detector on one split.

    Args:
        model: run folder, .onnx file, or any .tflite detector that ends in TFLite_Detection_PostProcess.
        data: the data set, in COCO layout.
        compare: another model, drawn beside this one in contact_sheet.jpg.
        split: images to score on: val, train, or the fit and holdout parts of train.
        output: folder for metrics.json, detections.json and contact_sheet.jpg.
        accelerator: torch device for a run folder's network, for example cpu or cuda.
    """

    model: str
    data: DataConfig
    compare: str | None = None
    split: Split = "val"
    output: str = "runs/evaluation"
    accelerator: str = "cpu"


def evaluate(config: EvaluateConfig, *, progress: bool = True) -> Metrics:
    """Scores a detector, and writes `metrics.json`, `detections.json` and `contact_sheet.jpg`.

    Args:
        config: what to evaluate.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such model or data set.
        ValueError: not a detector that can be run, or no object to find.
    """
    names = [name for name in (config.model, config.compare) if name is not None]
    shown = {name: open_predictor(name, accelerator=config.accelerator) for name in names}
    dataset = open_split(config.data, config.split)
    metrics = score(shown[config.model], dataset, progress=progress)
    record = EvaluationRecord(
        **vars(metrics.record),
        model=config.model,
        model_sha256=model_sha256(config.model),
        data_root=config.data.root,
        split=config.split,
    )
    output = Path(config.output)
    write_atomically(output / "detections.json", json.dumps(metrics.results, allow_nan=False))
    write_record(output / "metrics.json", record)
    write_picture(output / "contact_sheet.jpg", contact_sheet(dataset, shown))
    return metrics
