"""Makes every claim of a submission's folder anew, and says which do not hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ofa_det.artefacts.files import read_json
from ofa_det.artefacts.manifest import MANIFEST_FILE, Manifest, read_manifest
from ofa_det.artefacts.model_file import MODEL_FILE
from ofa_det.artefacts.records import read_record, read_yaml, record_content, to_plain
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import spread
from ofa_det.data.splits import DataConfig
from ofa_det.evaluation.metrics import Metrics, coco_metrics
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.latency.predict import predict_file
from ofa_det.submission.accuracy import check_accuracy_claims, score_torch
from ofa_det.submission.claims import CLAIMS_FILE, Claims, TorchEntry, competition_scores
from ofa_det.submission.model_card import EXPORT_CONFIG, model_card
from ofa_det.submission.packaging import (
    CARD_FILE,
    DETECTIONS_FILE,
    IMAGE_IDS_FILE,
    MD5_FILE,
    VALIDATED_IMAGES,
    VALIDATION_FILE,
    check_latency_claim,
    file_entry,
    md5_list,
    opened_images,
    software,
)
from ofa_det.submission.report import Check, ValidationReport, check
from ofa_det.submission.validation import validate_submission

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Difference of an AP, as a fraction, or of a latency in ms, that other processors may make."""


def verify_package(folder: str | Path, data: DataConfig, *, progress: bool = True) -> ValidationReport:
    """Makes every claim of a submission anew: hashes, interface, AP, latency, scores, card, and torch where it is here.

    Args:
        folder: of the submission.
        data: the data set.
        progress: show progress bars.

    Returns:
        A check for each claim.

    Raises:
        FileNotFoundError: no such folder, or one without claims or model; no such data.
        ValueError: a record that cannot be read, or a file that is no model.
    """
    folder = Path(folder)
    if not (folder / CLAIMS_FILE).is_file():
        raise FileNotFoundError(f"expected a submission's folder with {CLAIMS_FILE}, found none in {folder}")
    checks = list(_hashes(folder))
    claims = read_record(folder / CLAIMS_FILE, Claims)
    model = folder / claims.file.name
    if Path(claims.file.name).name != claims.file.name or not model.is_file():
        raise FileNotFoundError(f"expected the model {claims.file.name} in {folder}, found none")
    manifest = read_manifest(model)
    predictor = TfliteDetector(model)
    checks.append(_same("the file", claims.file, file_entry(model, model.name, predictor.input_size)))
    dataset = opened_images(data, folder / IMAGE_IDS_FILE if claims.images.chosen else None)
    checks.append(check("images", claims.images.sha256, dataset.fingerprint(), mend="name the data set it was made on"))
    if checks[-1].passed:
        checks += _measured(folder, claims, manifest, dataset, predictor, progress)
    checks.append(_card(folder, claims, manifest))
    if (here := dict(software())) != dict(claims.software):
        logger.warning("made with %s; checked with %s", _versions(dict(claims.software)), _versions(here))
    return ValidationReport(passed=all(entry.passed for entry in checks), checks=tuple(checks), images=len(dataset))


def _hashes(folder: Path) -> Iterator[Check]:
    path = folder / MD5_FILE
    stated = set(path.read_text().splitlines()) if path.is_file() else set()
    found = set(md5_list(folder).splitlines())
    names = sorted({line.partition("  ")[2] for line in stated ^ found})
    yield check("hashes", f"those of {MD5_FILE}", f"others of {', '.join(names)}" if names else "the same", not names)


def _measured(
    folder: Path,
    claims: Claims,
    manifest: Manifest | None,
    dataset: CocoDataset,
    predictor: TfliteDetector,
    progress: bool,
) -> Iterator[Check]:
    model = folder / claims.file.name
    report = validate_submission(model, dataset, images=VALIDATED_IMAGES)
    broken = ", ".join(entry.name for entry in report.broken)
    yield check("interface", "every rule kept", broken or "every rule kept")
    written = read_record(folder / VALIDATION_FILE, ValidationReport)
    yield _same(VALIDATION_FILE, record_content(written), record_content(report))
    metrics = score(predictor, dataset, progress=progress)
    yield _same("accuracy", claims.metrics, metrics.record)
    yield _detections(folder, claims, dataset)
    latency = predict_file(model, manifest).entry()
    yield _same("predicted latency", claims.latency, latency)
    scores = competition_scores(
        metrics,
        dataset,
        latency=latency,
        measured=claims.measured,
        time_limit_ms=claims.scores.time_limit_ms,
    )
    yield _same("scores", claims.scores, scores)
    yield from _manifest(folder, claims, manifest, metrics, dataset)
    yield from _torch(claims, manifest, metrics, dataset, progress)


def _detections(folder: Path, claims: Claims, dataset: CocoDataset) -> Check:
    """The claimed AP has to follow from the list of detections too."""
    try:
        metrics = coco_metrics(dataset.ground_truth(), read_json(folder / DETECTIONS_FILE))
    except (ValueError, KeyError, TypeError, OSError) as error:
        return check(DETECTIONS_FILE, "detections on these images", f"{error}", passed=False)
    return _same(DETECTIONS_FILE, claims.metrics, metrics.record)


def _manifest(
    folder: Path, claims: Claims, manifest: Manifest | None, metrics: Metrics, dataset: CocoDataset
) -> Iterator[Check]:
    if manifest is None:
        return
    try:
        check_latency_claim(predict_file(folder / claims.file.name, manifest).entry(), manifest)
        check_accuracy_claims(metrics, dataset, manifest, ap_tolerance=1.0, least_ap=0.0)
    except ValueError as error:
        yield check(MANIFEST_FILE, "claims that hold", str(error), passed=False)
    else:
        yield check(MANIFEST_FILE, "claims that hold", "claims that hold")
    yield _same(EXPORT_CONFIG, to_plain(manifest.export), read_yaml(folder / EXPORT_CONFIG))
    exported = claims.trainings[0]
    source = manifest.source
    yield _same(
        "the exported training",
        {"run_folder": source.run_folder, "weights_sha256": source.weights_sha256, "config": to_plain(source.config)},
        {
            "run_folder": exported.run_folder,
            "weights_sha256": exported.weights_sha256,
            "config": read_yaml(folder / exported.config_file) if exported.config_file else {},
        },
    )
    for entry in claims.trainings:
        config = read_yaml(folder / entry.config_file) if entry.config_file else {}
        yield check(f"seed of {entry.run_folder}", config.get("seed"), entry.seed)


def _torch(
    claims: Claims, manifest: Manifest | None, metrics: Metrics, dataset: CocoDataset, progress: bool
) -> Iterator[Check]:
    claimed = claims.torch
    if claimed is None or manifest is None:
        return
    if claimed.source == "manifest":
        accuracy = manifest.accuracy
        wanted = None if accuracy is None else (accuracy.before.AP, accuracy.after.AP)
        yield _same("torch, as the export measured it", (claimed.torch_ap, claimed.file_ap), wanted)
        return
    if not (Path(manifest.source.run_folder) / MODEL_FILE).is_file():
        shown = dataset.subset(np.array(spread(len(dataset), claimed.images), np.int64))
        ids = {shown.image_id(index) for index in range(len(shown))}
        kept = [result for result in metrics.results if result["image_id"] in ids]
        found = coco_metrics(shown.ground_truth(), kept).ap
        logger.warning("%s is not here, so AP of torch was not made anew", manifest.source.run_folder)
        yield _same("the file on torch's images", claimed.file_ap, found)
        return
    try:
        entry: TorchEntry | str | None = score_torch(
            metrics, dataset, manifest, images=claimed.images, ap_tolerance=1.0, progress=progress
        )
    except ValueError as error:
        entry = str(error)
    yield _same("torch", claimed, entry)


def _card(folder: Path, claims: Claims, manifest: Manifest | None) -> Check:
    path = folder / CARD_FILE
    written = path.read_text().splitlines() if path.is_file() else []
    made = model_card(claims, manifest).splitlines()
    if written == made:
        return check(CARD_FILE, "the claims", "the claims")
    line = next((number for number, pair in enumerate(zip(written, made, strict=False)) if pair[0] != pair[1]), None)
    line = min(len(written), len(made)) if line is None else line
    there, expected = ((lines[line] if line < len(lines) else "") for lines in (written, made))
    return check(CARD_FILE, f"{expected!r} in line {line + 1}", repr(there), passed=False)


def _same(name: str, claimed: Any, found: Any) -> Check:
    """Whether what is made anew is what is claimed; the first difference is named."""
    claimed, found = (json.loads(json.dumps(to_plain(value))) for value in (claimed, found))
    difference = _difference(claimed, found, "")
    if difference is None:
        return check(name, "as claimed", "as claimed")
    where, wanted, there = difference
    return check(name, f"{where}{wanted}, as claimed", there, passed=False)


def _difference(claimed: Any, found: Any, where: str) -> tuple[str, str, str] | None:
    if isinstance(claimed, dict) and isinstance(found, dict) and claimed.keys() == found.keys():
        pairs = [(claimed[key], found[key], f"{where}{key} ") for key in claimed]
    elif isinstance(claimed, list) and isinstance(found, list) and len(claimed) == len(found):
        pairs = [(*pair, where) for pair in zip(claimed, found, strict=True)]
    elif isinstance(claimed, float) and isinstance(found, float | int):
        return None if abs(claimed - found) <= TOLERANCE else (where, f"{claimed:g}", f"{found:g}")
    else:
        return None if claimed == found else (where, f"{claimed!r:.80}", f"{found!r:.80}")
    return next((found_one for pair in pairs if (found_one := _difference(*pair)) is not None), None)


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
