"""Puts a validated, measured model into a submission folder."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ofa_det.artefacts.manifest import LatencyEntry, Manifest, read_manifest
from ofa_det.artefacts.records import write_record
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import read_tflite
from ofa_det.submission.model_card import SubmissionFacts, model_card
from ofa_det.submission.validation import validate_submission

logger = logging.getLogger(__name__)

MD5_FILE = "md5.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A submission folder.

    Args:
        folder: `NAME_AP`.
        metrics: of the file.
        latency: predicted, with the export or from the file.
        md5: of the file.
    """

    folder: Path
    metrics: Metrics
    latency: LatencyEntry
    md5: str


@dataclass(frozen=True, kw_only=True)
class PackageConfig:
    """Packaging of one .tflite file.

    Args:
        model: the file, as tools/export_det.py --format tflite-int8 writes it; `manifest.json` beside it, if there,
            tells how it was made, and for which device its latency was predicted.
        name: of the submission, of letters, digits, `.`, `_` and `-`; the folder is NAME_AP with AP in percent.
        data: the data set, in COCO layout; AP is measured on its validation images.
        output: folder that the submission's folder goes into; one of the same name is replaced if it holds the same
            model, otherwise refused.
    """

    model: str
    name: str
    data: DataConfig
    output: str = "runs/submissions"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"expected a name of letters, digits, '.', '_' and '-', found {self.name!r}")


def package(config: PackageConfig, *, progress: bool = True) -> Submission:
    """Validates and measures a model, and writes its submission folder `NAME_AP`, AP in percent with one decimal.

    The folder appears whole or not at all.

    Args:
        config: what to package.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such file or data.
        ValueError: a file that breaks OVIC's interface, or a folder of that name with another model.
    """
    model, output = Path(config.model), Path(config.output)
    report = validate_submission(model)
    report.require(model)
    predictor = TfliteDetector(model)
    metrics = score(predictor, open_split(config.data, "val"), progress=progress)
    manifest = read_manifest(model)
    latency = _latency(model, manifest)

    content = model.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    title = f"{config.name}_{100 * metrics.ap:.1f}"
    file_name = f"{title}.tflite"
    _refuse_another_model(output / title, file_name, content)
    facts = SubmissionFacts(
        file_name=file_name,
        md5=md5,
        size_bytes=len(content),
        metrics=metrics,
        data=str(Path(config.data.root) / config.data.val_annotations),
        input_size=predictor.input_size,
        latency=latency,
        manifest=manifest,
    )
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=f".{title}-") as temporary:
        folder = Path(temporary) / title
        folder.mkdir()
        (folder / file_name).write_bytes(content)
        (folder / "MODEL_CARD.md").write_text(model_card(facts))
        (folder / MD5_FILE).write_text(f"{md5}  {file_name}\n")
        write_record(folder / "validation.json", report)
        (folder / "detections.json").write_text(json.dumps(metrics.results, allow_nan=False))
        _swap_in(folder, output / title, Path(temporary))
    return Submission(folder=output / title, metrics=metrics, latency=latency, md5=md5)


def _latency(model: Path, manifest: Manifest | None) -> LatencyEntry:
    """What the export predicted, for its device and runtime; of a file made elsewhere, for the default ones."""
    if manifest is not None and manifest.latency is not None:
        return manifest.latency
    network = read_tflite(model)
    return latency_model(precision=network.precision).predict(network.layers, network.tail).entry()


def _refuse_another_model(folder: Path, file_name: str, content: bytes) -> None:
    present = folder / file_name
    if folder.exists() and (not present.is_file() or present.read_bytes() != content):
        raise ValueError(
            f"expected no folder {folder}, or one with the same model, found one with another; choose another name"
        )


def _swap_in(folder: Path, target: Path, temporary: Path) -> None:
    """Renames the new folder into place; an old one goes into the temporary folder, and with it."""
    if target.exists():
        logger.info("replacing %s, which holds the same model", target)
        target.replace(temporary / "replaced")
    folder.replace(target)
    shutil.rmtree(temporary / "replaced", ignore_errors=True)
