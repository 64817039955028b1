"""From a trained detector to an export folder: convert, verify, measure, describe."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import (
    ANCHORS_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    AccuracyEntry,
    Manifest,
    ModelEntry,
    NetworkEntry,
    SourceEntry,
)
from ofa_det.artefacts.model_file import CONFIG_FILE, model_sha256
from ofa_det.artefacts.records import read_yaml, to_plain, write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches, spread
from ofa_det.data.splits import open_split
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.export.calibration_images import calibration_images
from ofa_det.export.config import ExportConfig
from ofa_det.export.converted import ConvertedModel, Recipe
from ofa_det.export.formats import MODEL_FILES
from ofa_det.export.verification import check_accuracy
from ofa_det.latency.latencies import LatencyPrediction
from ofa_det.latency.model import LatencyModel, latency_model
from ofa_det.latency.postprocessing import detection_tail
from ofa_det.models.fake_quantization import QuantizedDetector, read_ranges
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained, load_detector

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """An export folder.

    Args:
        model_path: the file.
        before, after: metrics of the float detector, and of the file; None without verification of AP.
        latency: predicted, of a `.tflite` file.
    """

    model_path: Path
    before: Metrics | None
    after: Metrics | None
    latency: LatencyPrediction | None


def export(config: ExportConfig, *, progress: bool = True) -> ExportResult:
    """Writes model, `labels.txt` and `manifest.json` into a folder; files of an earlier export are replaced.

    The files appear together, after verification and evaluation, the manifest last. Of a model that is refused nothing
    appears, and an earlier export stays.

    Args:
        config: what to export, and how.
        progress: show progress bars of the evaluations.

    Returns:
        The file with its accuracy and latency.

    Raises:
        FileNotFoundError: no such run folder, data, or ranges of a training.
        ValueError: the converted network is not the one it was made from or finds less, the data sets do not serve, or
            there is no latency model of the device and runtime.
    """
    trained, latency_of = load_detector(config.model), _latency_model(config)
    postprocess = config.ending.applied_to(trained.description.postprocess)
    trained = replace(trained, description=replace(trained.description, postprocess=postprocess))
    validation = open_split(config.data, "val")
    converted = _convert(trained, config, validation)
    manifest = _manifest(trained, converted, config)
    accuracy = None
    if config.verify != "none":
        chosen = config.verification_images if config.verify == "sample" else None
        shown = validation.subset(np.array(spread(len(validation), chosen), np.int64))
        accuracy = _measure(trained, config, converted, manifest, shown, progress)
        manifest = replace(manifest, accuracy=accuracy.entry)
    latency = None
    if latency_of is not None:
        tail = detection_tail(converted.plan, postprocess, precision=latency_of.precision)
        if config.ending.kind == "raw":
            tail = replace(tail, suppression=None)
        latency = latency_of.predict(converted.plan.layers, tail)
    manifest = replace(manifest, latency=None if latency is None else latency.entry())
    output = Path(config.output)
    _write(output, converted, manifest)
    return ExportResult(
        model_path=output / converted.file_name,
        before=None if accuracy is None else accuracy.before,
        after=None if accuracy is None else accuracy.after,
        latency=latency,
    )


def _write(output: Path, converted: ConvertedModel, manifest: Manifest) -> None:
    """Puts the files of an export into the place of those of an earlier one."""
    output.mkdir(parents=True, exist_ok=True)
    for stale in {*MODEL_FILES, ANCHORS_FILE} - {converted.file_name}:
        (output / stale).unlink(missing_ok=True)
    write_atomically(output / converted.file_name, converted.content)
    _write_anchors(output, converted)
    write_atomically(output / LABELS_FILE, converted.columns.label_map())
    write_record(output / MANIFEST_FILE, manifest)


def _write_anchors(folder: Path, converted: ConvertedModel) -> None:
    """Of a file that leaves decoding to its reader."""
    if converted.anchors is not None:
        write_atomically(folder / ANCHORS_FILE, save({"anchors": converted.anchors}))


def _convert(trained: Trained[Detector], config: ExportConfig, validation: CocoDataset) -> ConvertedModel:
    record, resolution = config.record, trained.network.subnet.resolution
    ranges = read_ranges(config.model) if record.trained_ranges else None
    calibration: list[NDArray[np.uint8]] = []
    if record.quantized and ranges is None:
        calibration = calibration_images(
            open_split(config.data, "train"),
            config.calibration_images,
            anchor_sizes=trained.network.config.anchor_sizes,
            resolution=resolution,
        )
    batches = image_batches(validation, size=(resolution, resolution), batch_size=8, limit=config.compared_images)
    compared = [image for batch in batches for image in batch]
    # Imported on demand: each converter takes seconds to import, and only one is needed.
    if record.is_onnx:
        from ofa_det.export.onnx_model import convert_to_onnx

        return convert_to_onnx(trained, compared, suppressed=config.format == "onnx-nms")
    from ofa_det.export.tflite_model import make_tflite

    recipe = Recipe(
        format=config.format,
        input_type=config.input_type,
        classes=config.classes,
        ending=config.ending,
        range_rule=config.ranges,
        trained_ranges=ranges,
    )
    return make_tflite(trained, recipe, calibration, compared)


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
        export=to_plain(config),
    )


@dataclass(frozen=True, kw_only=True)
class _Accuracy:
    before: Metrics
    after: Metrics
    entry: AccuracyEntry


def _measure(
    trained: Trained[Detector],
    config: ExportConfig,
    converted: ConvertedModel,
    manifest: Manifest,
    dataset: CocoDataset,
    progress: bool,
) -> _Accuracy:
    """AP of torch and of the file, which is refused if it finds less."""
    logger.info("scoring the float detector, then the file, on %d images", len(dataset))
    before = score(TorchDetector(trained.network, trained.description), dataset, progress=progress)
    simulated = None
    if config.record.trained_ranges:
        network = QuantizedDetector.of(trained.network, read_ranges(config.model))
        simulated = score(TorchDetector(network, trained.description), dataset, progress=progress).ap
    with tempfile.TemporaryDirectory(prefix="ofa-det-export-") as folder:
        path = Path(folder) / converted.file_name
        path.write_bytes(converted.content)
        _write_anchors(path.parent, converted)
        write_record(path.with_name(MANIFEST_FILE), manifest)
        after = score(open_predictor(path), dataset, progress=progress)
    if before.ap <= config.ap_tolerance:
        logger.warning(
            "AP is %.3f before the export, too low for a fall to show; only the noise of the outputs was checked",
            before.ap,
        )
    check_accuracy(
        before=before.ap,
        after=after.ap,
        tolerance=config.ap_tolerance,
        images=len(dataset),
        layers=converted.layers,
    )
    entry = AccuracyEntry(
        images_sha256=dataset.fingerprint(),
        before=before.record,
        after=after.record,
        ap_change=after.ap - before.ap,
        simulated_ap=simulated,
    )
    return _Accuracy(before=before, after=after, entry=entry)


def _latency_model(config: ExportConfig) -> LatencyModel | None:
    """Of a `.tflite` file; the figures behind the model are of no other runtime."""
    precision = config.record.latency_precision
    return None if precision is None else latency_model(config.device, precision=precision, runtime=config.runtime)
