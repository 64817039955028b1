"""From a published once-for-all classifier to a uint8 `.tflite` file in OVIC's classification interface."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final, get_args

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.ofa_formats import OfaClassifier
from ofa_det.arch.plan import LayerPlan
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import LABELS_FILE, MANIFEST_FILE, LatencyEntry, ModelEntry
from ofa_det.artefacts.ofa_files import read_ofa_classifier
from ofa_det.artefacts.records import write_record
from ofa_det.data.images import stretch
from ofa_det.data.loading import spread
from ofa_det.export.classifier_verification import (
    check_classifier_agreement,
    check_classifier_interface,
    compare_classifier,
)
from ofa_det.export.formats import TFLITE_FILE
from ofa_det.export.layer_noise import layer_noises
from ofa_det.export.metadata import FileMetadata, with_metadata
from ofa_det.export.mirror_weights import ConvolutionWeights, MirrorWeights, fold_batch_norm
from ofa_det.export.verification import check_plan
from ofa_det.latency.model import latency_model
from ofa_det.models.activation_ranges import RangeRule, classifier_ranges
from ofa_det.models.classifier import Classifier
from ofa_det.models.fake_quantization import Ranges
from ofa_det.models.published_weights import ofa_classifier_weights, read_checkpoint
from ofa_det.teachers.image_folder import ImageFolder

logger = logging.getLogger(__name__)

BACKGROUND: Final = "background"
CENTRAL_FRACTION: Final = 0.875
"""Of each side; OVIC cuts the rest off before it stretches the image to the input."""


@dataclass(frozen=True, kw_only=True)
class ExportClassifierConfig:
    """Export of one published once-for-all classifier.

    Args:
        net: its net.config; run.config beside it has the resolution.
        weights: torch file with the state dict that is published with it.
        images: folder of pictures such as it is to classify; every other one calibrates, the others compare file and
            torch.
        labels: file that names the classes, a line each; by default they are numbered.
        background: put a class before all others that no image is of, as OVIC counts: 1001 outputs for ImageNet.
        output: folder for model.tflite, labels.txt and manifest.json.
        calibration_images: most pictures that set the ranges.
        compared_images: most pictures that file and torch are compared on.
        ranges: how a range follows from the values seen: minmax, percentile or mse.
        least_agreement: share of the compared pictures whose best class has to be that of torch.
        device: phone that the latency is predicted for.
    """

    net: str
    weights: str
    images: str
    labels: str | None = None
    background: bool = True
    output: str = "runs/classifier"
    calibration_images: int = 100
    compared_images: int = 100
    ranges: RangeRule = "mse"
    least_agreement: float = 0.9
    device: str = "pixel2"

    def __post_init__(self) -> None:
        if self.ranges not in get_args(RangeRule):
            raise ValueError(f"expected ranges of {', '.join(get_args(RangeRule))}, found {self.ranges!r}")
        if min(self.calibration_images, self.compared_images) < 1:
            raise ValueError("expected calibration_images and compared_images >= 1, found less")
        if not 0 <= self.least_agreement <= 1:
            raise ValueError(f"expected least_agreement of 0 to 1, found {self.least_agreement}")


@dataclass(frozen=True, kw_only=True)
class ClassifierManifest:
    """`manifest.json` of a classifier.

    Args:
        model: the file.
        subnet, resolution, macs, parameters: of the network, the background class among its parameters.
        classes: outputs, the background among them.
        weights_sha256: of the weights' file.
        calibration_images, compared_images: that were used.
        same_best_class: share of the compared images for which file and torch name the same.
        probability_error: largest difference of a probability.
        probability_sqnr_db: signal to quantization noise.
        latency: predicted.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    model: ModelEntry
    subnet: str
    resolution: int
    macs: int
    parameters: int
    classes: int
    weights_sha256: str
    calibration_images: int
    compared_images: int
    same_best_class: float
    probability_error: float
    probability_sqnr_db: float
    latency: LatencyEntry


@dataclass(frozen=True, kw_only=True)
class ClassifierExport:
    """The file, and what its manifest says."""

    model_path: Path
    manifest: ClassifierManifest


def export_classifier(config: ExportClassifierConfig) -> ClassifierExport:
    """Writes `model.tflite`, `labels.txt` and `manifest.json`; of a file that is refused nothing appears.

    Raises:
        FileNotFoundError: no such files.
        ValueError: a network, weights or pictures of another kind, or a file that is not the network.
    """
    network = read_ofa_classifier(config.net)
    if not Path(config.weights).is_file():
        raise FileNotFoundError(f"expected the weights of {config.net}, found nothing at {config.weights}")
    plan = network.trained_plan
    tensors = ofa_classifier_weights(read_checkpoint(config.weights), network.subnet, plan, source=str(config.weights))
    try:
        classifier = Classifier(plan, tensors)
    except RuntimeError as error:
        raise ValueError(f"expected the weights of {config.net} in {config.weights}, found others: {error}") from error
    labels = _labels(config, network.num_classes)
    calibration, compared = _images(config, plan.resolution)
    logger.info("calibrating with %d images, comparing on %d others", len(calibration), len(compared))
    ranges = classifier_ranges(classifier, calibration, rule=config.ranges)
    content, shipped, weights = _convert(classifier, ranges, background=config.background)
    layers = layer_noises(content, shipped, weights, compared, score_threshold=0.0)
    check_classifier_interface(content, plan.resolution, len(labels))
    agreement = compare_classifier(content, classifier, compared, background=config.background)
    check_classifier_agreement(agreement, config.least_agreement, layers)
    manifest = ClassifierManifest(
        model=ModelEntry(file=TFLITE_FILE, bytes=0, sha256=""),
        subnet=str(network.subnet),
        resolution=plan.resolution,
        macs=shipped.macs,
        parameters=shipped.parameters,
        classes=len(labels),
        weights_sha256=hashlib.sha256(Path(config.weights).read_bytes()).hexdigest(),
        calibration_images=len(calibration),
        compared_images=agreement.images,
        same_best_class=agreement.same_best_class,
        probability_error=agreement.probability_error,
        probability_sqnr_db=agreement.probability_sqnr_db,
        latency=_latency(network, config.device),
    )
    content = with_metadata(
        content,
        FileMetadata(
            name="ofa_det classifier",
            description=f"Image classifier of {network.num_classes} classes, int8 after training.",
            labels="".join(f"{label}\n" for label in labels),
            kind="probabilities",
            signature_outputs=("probabilities",),
            quantized_input=True,
        ),
    )
    entry = ModelEntry(file=TFLITE_FILE, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest = replace(manifest, model=entry)
    output = Path(config.output)
    write_atomically(output / TFLITE_FILE, content)
    write_atomically(output / LABELS_FILE, "".join(f"{label}\n" for label in labels))
    write_record(output / MANIFEST_FILE, manifest)
    return ClassifierExport(model_path=output / TFLITE_FILE, manifest=manifest)


def central_part(image: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """An image (H, W, 3) as OVIC gives it to a classifier: the central part, stretched to (R, R, 3)."""
    height, width = image.shape[:2]
    rows, columns = (max(1, round(CENTRAL_FRACTION * side)) for side in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    return stretch(np.ascontiguousarray(image[top : top + rows, left : left + columns]), (resolution, resolution))


def _images(config: ExportClassifierConfig, resolution: int) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """To calibrate with, and others to compare on."""
    folder = ImageFolder(Path(config.images))
    if len(folder) < 2:
        raise ValueError(f"expected two pictures at least in {config.images}, found {len(folder)}")
    parts = []
    for first, limit in ((0, config.calibration_images), (1, config.compared_images)):
        positions = range(first, len(folder), 2)
        chosen = [positions[index] for index in spread(len(positions), limit)]
        parts.append([central_part(folder.image(position), resolution) for position in chosen])
    return parts[0], parts[1]


def _labels(config: ExportClassifierConfig, classes: int) -> list[str]:
    if config.labels is None:
        labels = [f"class {index}" for index in range(classes)]
    elif Path(config.labels).is_file():
        labels = Path(config.labels).read_text().splitlines()
    else:
        raise FileNotFoundError(f"expected a list of labels, found nothing at {config.labels}")
    if len(labels) == classes + 1 and config.background:
        return labels
    if len(labels) != classes:
        raise ValueError(f"expected {classes} labels in {config.labels}, found {len(labels)}")
    return [BACKGROUND, *labels] if config.background else labels


def _convert(classifier: Classifier, ranges: Ranges, *, background: bool) -> tuple[bytes, LayerPlan, MirrorWeights]:
    """The file, the plan of its layers, and their weights in float."""
    # Imported on demand: TensorFlow takes seconds.
    from ofa_det.export.conversion import convert_classifier
    from ofa_det.export.keras_mirror import classifier_mirror

    weights = fold_batch_norm(classifier.plan, {key: value.numpy() for key, value in classifier.arrays().items()})
    plan = classifier.plan.folded()
    last = plan.layers[-1]
    if background:
        plan = replace(plan, layers=(*plan.layers[:-1], replace(last, out_channels=last.out_channels + 1)))
        weights = _with_background(weights, last.name, ranges[last.name][0])
    content = convert_classifier(classifier_mirror(plan, weights, ranges))
    check_plan(content, plan)
    return content, plan, weights


def _with_background(weights: MirrorWeights, name: str, logit: float) -> MirrorWeights:
    """A class before the others with the lowest logit that the range has, whatever the image."""
    linear = weights[name]
    return {
        **weights,
        name: ConvolutionWeights(
            kernel=np.pad(linear.kernel, ((0, 0), (0, 0), (0, 0), (1, 0))),
            bias=np.pad(linear.bias, (1, 0), constant_values=logit),
        ),
    }


def _latency(network: OfaClassifier, device: str) -> LatencyEntry:
    """As it is predicted of the published network; the PADs of symmetric padding and the softmax cost hardly more."""
    return latency_model(device, precision="uint8").predict(network.plan.layers).entry()
