"""Evaluation of one detector on one split."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ofa_det.arch.description import ModelDescription, PostProcessChange
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import read_subnet
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import EvaluationRecord
from ofa_det.artefacts.model_file import model_sha256, read_description
from ofa_det.artefacts.records import write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, Split, open_split
from ofa_det.detection.detections import Predictor
from ofa_det.evaluation.engines import Engine
from ofa_det.evaluation.holdout import augmentation_of, divided_as_trained, open_trained_on
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.pictures import contact_sheet, write_picture
from ofa_det.evaluation.predictors import check_parallel, open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.run_folder import load_supernet

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluation of one detector on one split.

    Args:
        model: run folder, .onnx or .tflite file of our export in any format, or any .tflite detector that ends in
            TFLite_Detection_PostProcess.
        data: the data set, in COCO layout; of a supernet the one that it was trained on, whose training images
            calibrate the subnet and whose held-out fraction is the supernet's.
        subnet: of a supernet's run folder, as a subnet.json or written out; by default its largest. Of the model
            alone, not of compare.
        calibration_images: training images for the batch-norm statistics of a supernet's subnet.
        compare: another model, drawn beside this one in contact_sheet.jpg; of a supernet its largest subnet.
        split: images to score on: val, train, or the fit and holdout parts of train.
        output: folder for metrics.json, detections.json and contact_sheet.jpg.
        accelerator: torch device for a run folder's network: auto, cpu, cuda or cuda:N.
        nms: post-processing settings instead of the model's own, for this evaluation.
        workers: images that a file is run on side by side, with the same detections; 0 for the cores there are. A run
            folder's network uses the cores by itself.
        threads: of a file's runtime, for one image.
        engine: what computes the metrics: hotcoco, or pycocotools, its reference, which is slower.
    """

    model: str
    data: DataConfig
    subnet: str | None = None
    calibration_images: int = 128
    compare: str | None = None
    split: Split = "val"
    output: str = "runs/evaluation"
    accelerator: str = "cpu"
    nms: PostProcessChange = field(default_factory=PostProcessChange)
    workers: int = 0
    threads: int = 1
    engine: Engine = "hotcoco"

    def __post_init__(self) -> None:
        check_parallel(self.workers, self.threads)
        if self.calibration_images < 2:
            raise ValueError(f"expected calibration_images >= 2, found {self.calibration_images}")


def evaluate(config: EvaluateConfig, *, progress: bool = True) -> Metrics:
    """Scores a detector, and writes `metrics.json`, `detections.json` and `contact_sheet.jpg`.

    Args:
        config: what to evaluate.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such model or data set.
        ValueError: not a detector that can be run, data other than a supernet's, or no object to find.
    """
    model = _model(config.model, config.subnet)
    dataset = open_split(_data(model, config), config.split)
    shown = {model.path: _predictor(model, config, dataset)}
    if config.compare is not None:
        shown.setdefault(config.compare, _predictor(_model(config.compare), config, dataset))
    metrics = score(shown[model.path], dataset, progress=progress, engine=config.engine)
    record = EvaluationRecord(
        **vars(metrics.record),
        model=model.path,
        model_sha256=model_sha256(model.path),
        subnet=None if model.subnet is None else str(model.subnet),
        calibration_images=None if model.supernet is None else config.calibration_images,
        data_root=config.data.root,
        split=config.split,
        images_sha256=dataset.fingerprint(),
        postprocess=config.nms,
    )
    output = Path(config.output)
    write_atomically(output / "detections.json", json.dumps(metrics.results, allow_nan=False))
    write_record(output / "metrics.json", record)
    write_picture(output / "contact_sheet.jpg", contact_sheet(dataset, _titled(shown)))
    return metrics


def _titled(shown: Mapping[str, Predictor]) -> dict[str, Predictor]:
    """Predictors by the end of their paths, where that tells them apart."""
    ends = {"/".join(Path(path).parts[-2:]): predictor for path, predictor in shown.items()}
    return ends if len(ends) == len(shown) else dict(shown)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """What is evaluated.

    Args:
        path: of a run folder or file.
        subnet: the network; None of a file.
        supernet: what the subnet is cut out of; None of anything else.
    """

    path: str
    subnet: SubnetConfig | None
    supernet: ModelDescription | None


def _model(path: str, subnet: str | None = None) -> _Model:
    """The model of a path; of a supernet the subnet that is named, or the largest."""
    description = read_description(path) if Path(path).is_dir() else None
    if description is not None and description.subnet is None:
        chosen = description.detector.space.largest() if subnet is None else read_subnet(subnet)
        return _Model(path=path, subnet=chosen, supernet=description)
    if subnet is not None:
        raise ValueError(f"expected --subnet with the run folder of a supernet, found it with {path}")
    return _Model(path=path, subnet=None if description is None else description.subnet, supernet=None)


def _data(model: _Model, config: EvaluateConfig) -> DataConfig:
    """The data set, divided as a supernet's training divided it."""
    if model.supernet is None:
        return config.data
    return divided_as_trained(config.data, model.supernet, supernet=model.path)


def _predictor(model: _Model, config: EvaluateConfig, scored: CocoDataset) -> Predictor:
    """The predictor of a model; of a supernet its subnet, as a search scores it."""
    if model.supernet is None or model.subnet is None:
        return open_predictor(
            model.path,
            accelerator=config.accelerator,
            postprocess=config.nms,
            threads=config.threads,
            workers=config.workers,
        )
    logger.info("scoring %s of the supernet in %s", model.subnet, model.path)
    scorer = SubnetScorer(
        replace(model.supernet, postprocess=config.nms.applied(model.supernet.postprocess)),
        calibration=open_trained_on(_data(model, config), model.supernet, supernet=model.path),
        augmentation=augmentation_of(model.path),
        calibration_images=config.calibration_images,
        scored=scored,
    )
    network = load_supernet(model.path).network.to(checked_accelerator(config.accelerator))
    return scorer.predictor(network, model.subnet)
