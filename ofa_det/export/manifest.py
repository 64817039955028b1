"""`manifest.json`: what an exported file is, where it comes from, how accurate and how fast it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.predictors import model_sha256
from ofa_det.latency.model import LatencyPrediction
from ofa_det.models.run_folder import TrainedDetector

SCHEMA_VERSION = 1
MODEL_FILES = ("model.tflite", "model.onnx")
CONFIG_FILE = "config.yaml"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a detector comes from.

    Args:
        run_folder: path of the run folder.
        weights_sha256: hash of its weights file.
        config: its `config.yaml`; empty if there is none.
    """

    run_folder: str
    weights_sha256: str
    config: Mapping[str, Any]

    @classmethod
    def of(cls, run_folder: str | Path) -> Source:
        """Reads the hash and the config of a run folder."""
        config_file = Path(run_folder) / CONFIG_FILE
        config = yaml.safe_load(config_file.read_text()) if config_file.is_file() else {}
        return cls(run_folder=str(run_folder), weights_sha256=model_sha256(run_folder), config=config)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """AP of the detector before and of the file after export, on the same images.

    Args:
        before: of the float torch detector.
        after: of the file.
        dataset: what images they are of.
    """

    before: Metrics
    after: Metrics
    dataset: CocoDataset

    @property
    def ap_change(self) -> float:
        """AP after less AP before, as a fraction."""
        return self.after.ap - self.before.ap

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types."""
        return {
            "images": len(self.dataset),
            "images_sha256": self.dataset.fingerprint(),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "ap_change": self.ap_change,
        }


@dataclass(frozen=True, kw_only=True)
class ConvertedModel:
    """A file's content and what the manifest says of it.

    Args:
        file_name: one of `MODEL_FILES`.
        content: the file.
        labels: content of `labels.txt`.
        description: entries of the manifest: class_category_ids, input, outputs, quantization, verification.
    """

    file_name: str
    content: bytes
    labels: str
    description: Mapping[str, Any]


def model_entry(file_name: str, content: bytes) -> dict[str, Any]:
    """Name, size and hash of the exported file."""
    return {"file": file_name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def network_entry(trained: TrainedDetector) -> dict[str, Any]:
    """What network the file is."""
    plan = trained.detector.plan
    return {
        "detector": trained.detector.config.to_json(),
        "subnet": trained.detector.subnet.to_json(),
        "macs": plan.macs,
        "parameters": plan.parameters,
        "anchors": len(trained.detector.anchors),
        "categories": [asdict(category) for category in trained.categories],
    }


def latency_entry(prediction: LatencyPrediction) -> dict[str, Any]:
    """A prediction less its parts."""
    return {key: value for key, value in prediction.to_json().items() if key != "layers"}
