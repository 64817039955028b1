"""The artefacts of a build, read for its page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa_det.artefacts.build_record import BuildFolder, BuildRecord, BuiltDetector, read_build
from ofa_det.artefacts.evaluations import EVALUATIONS_FILE, Evaluation
from ofa_det.artefacts.files import read_json
from ofa_det.artefacts.manifest import EvaluationRecord, Manifest, read_manifest
from ofa_det.artefacts.model_file import CONFIG_FILE
from ofa_det.artefacts.records import from_plain, parse_record, read_record, read_yaml
from ofa_det.data.inspection_report import Inspection
from ofa_det.data.splits import DataConfig
from ofa_det.evaluation.inspection import RECORD_FILE
from ofa_det.latency.latencies import LatencyPrediction
from ofa_det.latency.predict import predict_file
from ofa_det.search.report import ARCHITECTURES_FILE, SEARCH_FILE, SearchReport
from ofa_det.training.metrics_log import METRICS_FILE

_MOST_POINTS = 150


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A training as it went.

    Args:
        images: drawn at each figure of the loss.
        losses: mean over the steps since the one before.
        validated: images drawn at each validation.
        aps: as fractions, by name of the subnet; `AP` of a single one.
        images_per_s: median.
    """

    images: Sequence[float]
    losses: Sequence[float]
    validated: Sequence[float]
    aps: Mapping[str, Sequence[float]]
    images_per_s: float


@dataclass(frozen=True, kw_only=True)
class DetectorSources:
    """All that is told of one file.

    Args:
        built: its figures.
        manifest: beside the file.
        before, after: evaluations of the float detector and of the file.
        curves: of its training.
        latency: predicted, op by op.
        contact_sheet: JPEG of ground truth, file and float detector.
    """

    built: BuiltDetector
    manifest: Manifest
    before: EvaluationRecord
    after: EvaluationRecord
    curves: Curves
    latency: LatencyPrediction
    contact_sheet: bytes


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All that a page tells."""

    folder: BuildFolder
    record: BuildRecord
    data: DataConfig
    inspection: Inspection
    supernet: Curves | None
    scored: Sequence[Evaluation]
    search: SearchReport | None
    architectures: bytes | None
    detectors: Sequence[DetectorSources]
    commands: str


def read_sources(root: Path) -> Sources:
    """Reads the artefacts of a build.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: one is damaged.
    """
    folder = BuildFolder(root)
    record = read_build(root)
    options = read_yaml(root / CONFIG_FILE)
    inspection = folder.inspection / RECORD_FILE
    return Sources(
        folder=folder,
        record=record,
        data=from_plain(DataConfig, options["data"], where=str(root / CONFIG_FILE)),
        inspection=parse_record(read_json(inspection), Inspection, where=str(inspection)),
        supernet=read_curves(folder.supernet / METRICS_FILE) if record.elastic else None,
        search=read_record(folder.search / SEARCH_FILE, SearchReport) if record.elastic else None,
        architectures=_read(folder.search / ARCHITECTURES_FILE),
        scored=tuple(_scored(folder.search / EVALUATIONS_FILE)) if record.elastic else (),
        detectors=tuple(_detector(folder, record, built) for built in record.detectors),
        commands=(root / "commands.txt").read_text(),
    )


def _detector(folder: BuildFolder, record: BuildRecord, built: BuiltDetector) -> DetectorSources:
    cap, model = built.latency_cap_ms, folder.root / built.model
    manifest = read_manifest(model)
    if manifest is None or manifest.latency is None:
        raise FileNotFoundError(f"expected a manifest.json with a latency beside {model}, found none")
    after = folder.evaluation(cap, "int8")
    return DetectorSources(
        built=built,
        manifest=manifest,
        before=read_record(folder.evaluation(cap, "float") / "metrics.json", EvaluationRecord),
        after=read_record(after / "metrics.json", EvaluationRecord),
        curves=read_curves(folder.detector(built.training_cap_ms) / METRICS_FILE),
        latency=predict_file(model, manifest),
        contact_sheet=(after / "contact_sheet.jpg").read_bytes(),
    )


def read_curves(path: Path) -> Curves:
    """Reads a `metrics.jsonl`, thinned out to what a chart can show."""
    entries = list(_entries(path))
    trained = [entry for entry in entries if "loss" in entry]
    validated = [entry for entry in entries if any(key.startswith("AP") for key in entry)]
    width = max(1, -(-len(trained) // _MOST_POINTS))
    groups = [trained[start : start + width] for start in range(0, len(trained), width)]
    names = dict.fromkeys(key for entry in validated for key in entry if key.startswith("AP"))
    speeds = sorted(entry["images_per_s"] for entry in trained)
    return Curves(
        images=[group[-1]["images"] for group in groups],
        losses=[sum(entry["loss"] for entry in group) / len(group) for group in groups],
        validated=[entry["images"] for entry in validated],
        aps={name: [entry[name] for entry in validated] for name in names},
        images_per_s=speeds[len(speeds) // 2] if speeds else 0.0,
    )


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _scored(path: Path) -> Iterator[Evaluation]:
    for entry in _entries(path):
        if "ap" in entry:
            yield Evaluation.from_entry(entry, where=str(path))


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        yield json.loads(line)
