"""Puts a validated, measured model into a submission folder."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import numpy as np

from ofa_det.artefacts.files import parse_json
from ofa_det.artefacts.manifest import LABELS_FILE, MANIFEST_FILE, LatencyEntry, Manifest, read_manifest
from ofa_det.artefacts.records import to_yaml, write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.latency.predict import predict_file
from ofa_det.submission.accuracy import check_accuracy_claims, score_torch
from ofa_det.submission.claims import CLAIMS_FILE, Claims, FileEntry, ImagesEntry, MeasuredEntry, Story
from ofa_det.submission.claims import competition_scores as scores_of
from ofa_det.submission.config import PackageConfig
from ofa_det.submission.model_card import EXPORT_CONFIG, model_card
from ofa_det.submission.provenance import Provenance, provenance
from ofa_det.submission.report import ValidationReport
from ofa_det.submission.validation import validate_submission

logger = logging.getLogger(__name__)

CARD_FILE: Final = "MODEL_CARD.md"
MD5_FILE: Final = "md5.txt"
VALIDATION_FILE: Final = "validation.json"
DETECTIONS_FILE: Final = "detections.json"
IMAGE_IDS_FILE: Final = "image_ids.txt"
VALIDATED_IMAGES: Final = 8

_SOFTWARE: Final = (
    "ofa-det",
    "ai-edge-litert",
    "numpy",
    "opencv-python-headless",
    "pycocotools",
    "tensorflow",
    "torch",
)
_SAME_LATENCY: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A submission folder.

    Args:
        folder: `NAME_AP`.
        metrics: of the file.
        claims: all that the folder claims.
    """

    folder: Path
    metrics: Metrics
    claims: Claims

    @property
    def latency(self) -> LatencyEntry:
        """Predicted."""
        return self.claims.latency

    @property
    def md5(self) -> str:
        """Of the file."""
        return self.claims.file.md5


def package_title(name: str | None, ap: float) -> str:
    """Name of a package's folder and file: the winners' way, with AP in percent."""
    return f"{name}_{100 * ap:.1f}"


def package(config: PackageConfig, *, progress: bool = True) -> Submission:
    """Validates and measures a model, and writes its submission folder `NAME_AP`, AP in percent with one decimal.

    The folder appears whole or not at all.

    Args:
        config: what to package.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such file or data.
        ValueError: a file that breaks OVIC's interface, whose AP or latency is not what its manifest claims or what
            torch has, or a folder of that name with another model.
    """
    assert config.model is not None, "a package that is only checked is not made; see `verify_package`"
    model, output = Path(config.model), Path(config.output)
    dataset = opened_images(config.data, config.image_ids)
    report = validate_submission(model, dataset, images=VALIDATED_IMAGES)
    report.require(model)
    manifest = read_manifest(model)
    latency = predict_file(model, manifest).entry()
    check_latency_claim(latency, manifest)
    origin = provenance(manifest)
    predictor = TfliteDetector(model)
    metrics = score(predictor, dataset, progress=progress)
    claimed = check_accuracy_claims(
        metrics, dataset, manifest, ap_tolerance=config.ap_tolerance, least_ap=config.least_ap
    )
    torch = score_torch(
        metrics,
        dataset,
        manifest,
        images=config.torch_images,
        ap_tolerance=config.ap_tolerance,
        progress=progress,
    )
    measured = None
    if config.measured_ms is not None:
        measured = MeasuredEntry(mean_ms=config.measured_ms, on=config.measured_on)
    title = package_title(config.name, metrics.ap)
    claims = Claims(
        file=file_entry(model, f"{title}.tflite", predictor.input_size),
        images=ImagesEntry(data=config.data, sha256=dataset.fingerprint(), chosen=config.image_ids is not None),
        metrics=metrics.record,
        latency=latency,
        measured=measured,
        scores=scores_of(metrics, dataset, latency=latency, measured=measured, time_limit_ms=config.time_limit_ms),
        torch=torch or claimed,
        trainings=origin.trainings,
        teachers=origin.teachers,
        story=Story(
            authors=config.authors,
            description=config.description,
            licence=config.licence,
            data_licence=config.data_licence,
            limits=config.limits,
        ),
        software=software(),
    )
    content = model.read_bytes()
    _refuse_another_model(output / title, claims.file.name, content)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=f".{title}-") as temporary:
        folder = Path(temporary) / title
        folder.mkdir()
        (folder / claims.file.name).write_bytes(content)
        if config.image_ids is not None:
            ids = (dataset.image_id(index) for index in range(len(dataset)))
            (folder / IMAGE_IDS_FILE).write_text("".join(f"{id_}\n" for id_ in ids))
        _write(folder, claims, metrics, report, manifest, origin, model)
        _swap_in(folder, output / title, Path(temporary))
    return Submission(folder=output / title, metrics=metrics, claims=claims)


def _write(
    folder: Path,
    claims: Claims,
    metrics: Metrics,
    report: ValidationReport,
    manifest: Manifest | None,
    origin: Provenance,
    model: Path,
) -> None:
    """All but the model, the list of hashes last."""
    for name, config in origin.configs.items():
        (folder / name).write_text(to_yaml(config))
    if manifest is not None:
        write_record(folder / MANIFEST_FILE, manifest)
        (folder / EXPORT_CONFIG).write_text(to_yaml(manifest.export))
    if (labels := model.with_name(LABELS_FILE)).is_file():
        shutil.copyfile(labels, folder / LABELS_FILE)
    write_record(folder / CLAIMS_FILE, claims)
    write_record(folder / VALIDATION_FILE, report)
    (folder / DETECTIONS_FILE).write_text(json.dumps(metrics.results, allow_nan=False))
    (folder / CARD_FILE).write_text(model_card(claims, manifest))
    (folder / MD5_FILE).write_text(md5_list(folder))


def md5_list(folder: Path) -> str:
    """What `md5sum -c` reads, of all files but the list itself."""
    names = sorted(path.name for path in folder.iterdir() if path.name != MD5_FILE)
    return "".join(f"{md5((folder / name).read_bytes())}  {name}\n" for name in names)


def md5(content: bytes) -> str:
    """Hexadecimal; competitions publish it, nothing here trusts it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def file_entry(model: Path, name: str, input_size: tuple[int, int]) -> FileEntry:
    """What is claimed of a file as such."""
    content = model.read_bytes()
    return FileEntry(
        name=name,
        bytes=len(content),
        md5=md5(content),
        sha256=hashlib.sha256(content).hexdigest(),
        input_size=input_size,
    )


def opened_images(data: DataConfig, image_ids: str | Path | None) -> CocoDataset:
    """The validation images, or those of them that a file of ids names, in its order.

    Raises:
        FileNotFoundError: no such data or file.
        ValueError: ids that are no whole numbers, stand twice, or are of no validation image.
    """
    dataset = open_split(data, "val")
    if image_ids is None:
        return dataset
    path = Path(image_ids)
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of image ids, found nothing at {path}")
    text = path.read_text()
    listed = parse_json(text, where=str(path)) if text.lstrip().startswith("[") else text.replace(",", " ").split()
    try:
        wanted = [int(str(word)) for word in listed]
    except ValueError as error:
        raise ValueError(f"expected whole numbers in {path}, found {error}") from error
    if not wanted or len(set(wanted)) != len(wanted):
        raise ValueError(f"expected image ids in {path}, each once, found {len(wanted)}, {len(set(wanted))} different")
    position_of = {dataset.image_id(index): index for index in range(len(dataset))}
    if missing := [id_ for id_ in wanted if id_ not in position_of]:
        raise ValueError(
            f"expected ids of the {len(dataset)} images of {data.val_annotations} in {path}, found {len(missing)} of "
            f"{len(wanted)} others, the first {missing[0]}; name the annotations they are of by --data.val_annotations"
        )
    return dataset.subset(np.array([position_of[id_] for id_ in wanted], np.int64))


def check_latency_claim(latency: LatencyEntry, manifest: Manifest | None) -> None:
    """Refuses a manifest that claims another latency than its file has.

    Raises:
        ValueError: it does.
    """
    claimed = None if manifest is None else manifest.latency
    if claimed is not None and abs(latency.mean_ms / claimed.mean_ms - 1) > _SAME_LATENCY:
        raise ValueError(f"expected the {claimed} that {MANIFEST_FILE} claims, found {latency}; export the model again")


def software() -> Mapping[str, str]:
    """Versions of what made the numbers."""
    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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
