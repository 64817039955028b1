"""From a trained detector to an export folder: convert, verify, measure, describe."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    AccuracyEntry,
    Manifest,
    ModelEntry,
    NetworkEntry,
    SourceEntry,
)
from ofa_det.artefacts.model_file import CONFIG_FILE, model_sha256
from ofa_det.artefacts.records import read_yaml, write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.data.splits import open_split
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.export.config import ExportConfig
from ofa_det.export.converted import MODEL_FILES, ConvertedModel
from ofa_det.latency.latencies import LatencyPrediction, Precision
from ofa_det.latency.model import LatencyModel, latency_model
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained, load_detector

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """An export folder.

    Args:
        model_path: the file.
        before, after: metrics of the float detector, and of the file.
        latency: predicted, of a `.tflite` file.
    """

    model_path: Path
    before: Metrics
    after: Metrics
    latency: LatencyPrediction | None


def export(config: ExportConfig, *, progress: bool = True) -> ExportResult:
    """Writes model, `labels.txt` and `manifest.json` into a folder; files of an earlier export are replaced.

    The files appear together, after verification and evaluation, the manifest last.

    Args:
        config: what to export, and how.
        progress: show progress bars of the evaluations.

    Returns:
        The file with its accuracy and latency.

    Raises:
        FileNotFoundError: no such run folder or data.
        ValueError: the converted network is not the one it was made from, the data sets do not serve, or there is no
            latency model of the device and runtime.
    """
    trained, latency_of = load_detector(config.model), _latency_model(config)
    calibration, validation = open_split(config.data, "train"), open_split(config.data, "val")
    converted = _convert(trained, config, _images(calibration, trained.network.subnet.resolution, config))
    manifest = _manifest(trained, converted, config)
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".export-") as folder:
        model_path = Path(folder) / converted.file_name
        model_path.write_bytes(converted.content)
        write_record(model_path.with_name(MANIFEST_FILE), manifest)
        before, after = _measure(trained, config, model_path, validation, progress)
    accuracy = AccuracyEntry(
        images_sha256=validation.fingerprint(),
        before=before.record,
        after=after.record,
        ap_change=after.ap - before.ap,
    )
    latency = None if latency_of is None else latency_of.predict(converted.plan.layers)
    manifest = replace(manifest, accuracy=accuracy, latency=None if latency is None else latency.entry())
    for stale in set(MODEL_FILES) - {converted.file_name}:
        (output / stale).unlink(missing_ok=True)
    write_atomically(output / converted.file_name, converted.content)
    write_atomically(output / LABELS_FILE, converted.columns.label_map())
    write_record(output / MANIFEST_FILE, manifest)
    return ExportResult(model_path=output / converted.file_name, before=before, after=after, latency=latency)


def _images(dataset: CocoDataset, resolution: int, config: ExportConfig) -> list[NDArray[np.uint8]]:
    limit = config.calibration_images
    if len(dataset) < limit:
        logger.warning("calibrating with all %d images, fewer than the %d asked for", len(dataset), limit)
    batches = image_batches(dataset, size=(resolution, resolution), batch_size=8, limit=limit)
    return [image for batch in batches for image in batch]


def _convert(trained: Trained[Detector], config: ExportConfig, images: list[NDArray[np.uint8]]) -> ConvertedModel:
    shown = images[:: max(1, len(images) // config.verification_images)][: config.verification_images]
    # Imported on demand: each converter takes seconds to import, and only one is needed.
    if config.format == "onnx":
        from ofa_det.export.onnx_model import convert_to_onnx

        return convert_to_onnx(trained, shown)
    from ofa_det.export.tflite_model import convert_to_tflite

    return convert_to_tflite(trained, images, shown, quantized=config.format == "tflite-int8")


def _manifest(trained: Trained[Detector], converted: ConvertedModel, config: ExportConfig) -> Manifest:
    """All that is known before the file is measured."""
    description, content = trained.description, converted.content
    config_file = Path(config.model) / CONFIG_FILE
    return Manifest(
        format=config.format,
        model=ModelEntry(file=converted.file_name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()),
        class_category_ids=converted.columns.category_ids,
        input=converted.input,
        outputs=converted.outputs,
        quantization=converted.quantization,
        verification=converted.verification,
        network=NetworkEntry(
            detector=description.detector,
            subnet=trained.network.subnet,
            macs=converted.plan.macs,
            parameters=converted.plan.parameters,
            anchors=converted.plan.num_anchors,
            categories=description.categories,
        ),
        postprocess=description.postprocess,
        source=SourceEntry(
            run_folder=config.model,
            weights_sha256=model_sha256(config.model),
            config=read_yaml(config_file) if config_file.is_file() else {},
        ),
        export=asdict(config),
    )


def _measure(
    trained: Trained[Detector], config: ExportConfig, model_path: Path, dataset: CocoDataset, progress: bool
) -> tuple[Metrics, Metrics]:
    logger.info("scoring the float detector, then the file, on %d images", len(dataset))
    before = score(TorchDetector(trained.network, trained.description), dataset, progress=progress)
    after = score(open_predictor(model_path), dataset, progress=progress)
    if after.ap - before.ap < -config.ap_tolerance:
        logger.warning(
            "AP fell from %.3f to %.3f by the export to %s, more than the tolerance of %.3f",
            before.ap,
            after.ap,
            config.format,
            config.ap_tolerance,
        )
    return before, after


def _latency_model(config: ExportConfig) -> LatencyModel | None:
    """Of a `.tflite` file; the figures behind the model are of no other runtime."""
    if config.format == "onnx":
        return None
    precision: Precision = "uint8" if config.format == "tflite-int8" else "float32"
    return latency_model(config.device, precision=precision, runtime=config.runtime)
