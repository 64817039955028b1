"""Evaluation of one detector on one split."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from ofa_det.artefacts.evaluations import read_subnet
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import EvaluationRecord
from ofa_det.artefacts.model_file import model_sha256, read_description
from ofa_det.artefacts.records import write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, Split, open_split
from ofa_det.detection.detections import Predictor
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.pictures import contact_sheet, write_picture
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.run_folder import load_supernet


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluation of one detector on one split.

    Args:
        model: run folder, .onnx file, or any .tflite detector that ends in TFLite_Detection_PostProcess.
        data: the data set, in COCO layout; its training images calibrate a supernet's subnet.
        subnet: of a supernet's run folder, as a subnet.json or written out; by default its largest.
        calibration_images: training images for the batch-norm statistics of a supernet's subnet.
        compare: another model, drawn beside this one in contact_sheet.jpg.
        split: images to score on: val, train, or the fit and holdout parts of train.
        output: folder for metrics.json, detections.json and contact_sheet.jpg.
        accelerator: torch device for a run folder's network, for example cpu or cuda.
    """

    model: str
    data: DataConfig
    subnet: str | None = None
    calibration_images: int = 128
    compare: str | None = None
    split: Split = "val"
    output: str = "runs/evaluation"
    accelerator: str = "cpu"

    def __post_init__(self) -> None:
        if self.calibration_images < 2:
            raise ValueError(f"expected calibration_images >= 2, found {self.calibration_images}")


def evaluate(config: EvaluateConfig, *, progress: bool = True) -> Metrics:
    """Scores a detector, and writes `metrics.json`, `detections.json` and `contact_sheet.jpg`.

    Args:
        config: what to evaluate.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such model or data set.
        ValueError: not a detector that can be run, or no object to find.
    """
    dataset = open_split(_data(config), config.split)
    names = [name for name in (config.model, config.compare) if name is not None]
    shown = {name: _open(name, config, dataset) for name in names}
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


def _open(model: str, config: EvaluateConfig, scored: CocoDataset) -> Predictor:
    """The predictor of a path; of a supernet one of its subnets, as a search scores it."""
    description = read_description(model) if Path(model).is_dir() else None
    if description is None or description.subnet is not None:
        if config.subnet is not None and model == config.model:
            raise ValueError(f"expected --subnet with the run folder of a supernet, found it with {model}")
        return open_predictor(model, accelerator=config.accelerator)
    network = load_supernet(model).network.to(checked_accelerator(config.accelerator))
    subnet = network.subnets.largest() if config.subnet is None else read_subnet(config.subnet)
    scorer = SubnetScorer(
        description,
        calibration=open_split(_data(config), "fit"),
        calibration_images=config.calibration_images,
        scored=scored,
    )
    return scorer.predictor(network, subnet)


def _data(config: EvaluateConfig) -> DataConfig:
    """The data set, divided as the model's training divided it unless the config says how."""
    if config.data.holdout_fraction or not Path(config.model).is_dir():
        return config.data
    return replace(config.data, holdout_fraction=read_description(config.model).holdout_fraction)
