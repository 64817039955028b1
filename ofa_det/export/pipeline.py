"""From a trained detector to an export folder: convert, verify, measure, describe."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.files import write_atomically, write_json
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.evaluation.export_folder import LABELS_FILE, MANIFEST_FILE
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import evaluate
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.export.config import ExportConfig
from ofa_det.export.manifest import (
    MODEL_FILES,
    SCHEMA_VERSION,
    Accuracy,
    ConvertedModel,
    Source,
    latency_entry,
    model_entry,
    network_entry,
)
from ofa_det.latency.model import LatencyPrediction, pixel2_model
from ofa_det.latency.tflite_file import read_tflite
from ofa_det.models.run_folder import TrainedDetector

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """An export folder.

    Args:
        model_path: the file.
        accuracy: before and after.
        latency: predicted, of a `.tflite` file.
    """

    model_path: Path
    accuracy: Accuracy
    latency: LatencyPrediction | None


def export_detector(
    trained: TrainedDetector,
    source: Source,
    config: ExportConfig,
    *,
    calibration: CocoDataset,
    validation: CocoDataset,
    output: str | Path,
    progress: bool = False,
) -> ExportResult:
    """Writes model, `labels.txt` and `manifest.json` into a folder; files of an earlier export are replaced.

    The files appear together, after verification and evaluation, the manifest last.

    Args:
        trained: the detector, on the CPU.
        source: where it comes from.
        config: how to export.
        calibration: training images, never those of `validation`.
        validation: images that AP is measured on, before and after.
        output: the export folder.
        progress: show progress bars of the evaluations.

    Returns:
        The file with its accuracy and latency.

    Raises:
        ValueError: the converted network is not the one it was made from, or the data sets do not serve.
    """
    images = _images(calibration, trained.detector.plan.resolution, config.calibration_images)
    converted = _convert(trained, config, images)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    entry = model_entry(converted.file_name, converted.content)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "format": config.format,
        "model": entry,
        **converted.description,
        "network": network_entry(trained),
        "source": asdict(source),
        "export": asdict(config),
    }
    with tempfile.TemporaryDirectory(dir=output, prefix=".export-") as folder:
        model_path = Path(folder) / converted.file_name
        model_path.write_bytes(converted.content)
        write_json(model_path.with_name(MANIFEST_FILE), manifest)
        accuracy = _measure(trained, config, model_path, validation, progress)
        latency = _predict_latency(model_path)
    manifest["accuracy"] = accuracy.to_json()
    manifest["latency"] = None if latency is None else latency_entry(latency)
    for stale in set(MODEL_FILES) - {converted.file_name}:
        (output / stale).unlink(missing_ok=True)
    write_atomically(output / converted.file_name, converted.content)
    write_atomically(output / LABELS_FILE, converted.labels)
    write_json(output / MANIFEST_FILE, manifest)
    return ExportResult(model_path=output / converted.file_name, accuracy=accuracy, latency=latency)


def _images(dataset: CocoDataset, resolution: int, limit: int) -> list[NDArray[np.uint8]]:
    if len(dataset) < limit:
        logger.warning("calibrating with all %d images, fewer than the %d asked for", len(dataset), limit)
    batches = image_batches(dataset, size=(resolution, resolution), batch_size=8, limit=limit)
    return [image for batch in batches for image in batch]


def _convert(trained: TrainedDetector, config: ExportConfig, images: list[NDArray[np.uint8]]) -> ConvertedModel:
    shown = images[:: max(1, len(images) // config.verification_images)][: config.verification_images]
    # Imported on demand: each converter takes seconds to import, and only one is needed.
    if config.format == "onnx":
        from ofa_det.export.onnx_model import convert_to_onnx

        return convert_to_onnx(trained, config, shown)
    from ofa_det.export.tflite_model import convert_to_tflite

    return convert_to_tflite(trained, config, images, shown)


def _measure(
    trained: TrainedDetector, config: ExportConfig, model_path: Path, dataset: CocoDataset, progress: bool
) -> Accuracy:
    logger.info("scoring the float detector, then the file, on %d images", len(dataset))
    float_detector = TorchDetector(trained.detector, trained.categories, config.postprocess)
    before = evaluate(float_detector, dataset, progress=progress)
    after = evaluate(open_predictor(model_path), dataset, progress=progress)
    accuracy = Accuracy(before=before, after=after, dataset=dataset)
    if accuracy.ap_change < -config.ap_tolerance:
        logger.warning(
            "AP fell from %.3f to %.3f by the export to %s, more than the tolerance of %.3f",
            before.ap,
            after.ap,
            config.format,
            config.ap_tolerance,
        )
    return accuracy


def _predict_latency(model_path: Path) -> LatencyPrediction | None:
    """Latency of a `.tflite` file; the figures behind the model are of no other runtime."""
    if model_path.suffix != ".tflite":
        return None
    network = read_tflite(model_path)
    return pixel2_model(network.precision).predict(network.layers)
