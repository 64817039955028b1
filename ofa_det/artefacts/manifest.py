"""`manifest.json` of an export folder and `metrics.json` of an evaluation, as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ofa_det.arch.classes import Category
from ofa_det.arch.description import PostProcessChange, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import read_record

MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.txt"
ANCHORS_FILE = "anchors.safetensors"
"""Beside a file with raw outputs: `anchors` (A, 4) (cx, cy, w, h), normalised."""


@dataclass(frozen=True, kw_only=True)
class ClassAp:
    """AP of one category as a fraction; None where the data set has no object of it."""

    id: int
    name: str
    AP: float | None


@dataclass(frozen=True, kw_only=True)
class MetricsRecord:
    """The twelve numbers of COCO as fractions; None where the data set has no object of that size.

    Args:
        classes: AP of every category, by ascending id.
        images: of the data set.
        detections: that were scored.
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    APs: float | None
    APm: float | None
    APl: float | None
    AR1: float | None
    AR10: float | None
    AR100: float | None
    ARs: float | None
    ARm: float | None
    ARl: float | None
    classes: tuple[ClassAp, ...]
    images: int
    detections: int


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(MetricsRecord):
    """`metrics.json`: an evaluation, and what was evaluated on what.

    Args:
        model, model_sha256: the run folder or file, and the hash of its weights.
        subnet: the network, as `SubnetConfig` writes it; None of a file.
        calibration_images: asked for to calibrate a supernet's subnet; None of anything else.
        data_root, split: the data set and its part.
        images_sha256: fingerprint of the images that were scored.
        postprocess: settings that replaced the model's own.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    model: str
    model_sha256: str
    subnet: str | None
    calibration_images: int | None
    data_root: str
    split: str
    images_sha256: str
    postprocess: PostProcessChange = field(default_factory=PostProcessChange)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """Name, size and hash of the exported file."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """An input or output of the file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    content: str
    quantization: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class LayerNoiseEntry:
    """A layer and the signal to quantization noise of what it adds by itself, in dB."""

    name: str
    sqnr_db: float


@dataclass(frozen=True, kw_only=True)
class QuantizationEntry:
    """How the file was quantized; scale and zero point of each level's box codes and logits.

    Manifests before 0.4 name no worst layers.
    """

    method: str
    calibration_images: int
    box_codes: tuple[Mapping[str, float], ...]
    logits: tuple[Mapping[str, float], ...]
    worst_layers: tuple[LayerNoiseEntry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NetworkEntry:
    """What network the file is; macs and parameters are those of the file, unused class columns among them."""

    detector: DetectorConfig
    subnet: SubnetConfig
    macs: int
    parameters: int
    anchors: int
    categories: tuple[Category, ...]


@dataclass(frozen=True, kw_only=True)
class SourceEntry:
    """Where a detector comes from: run folder, hash of its weights, its `config.yaml` (empty if there is none)."""

    run_folder: str
    weights_sha256: str
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AccuracyEntry:
    """Accuracy of the float detector before and of the file after export, on the same images.

    Of a file whose ranges were trained, also the AP of torch with quantization simulated, as training saw it.
    """

    images_sha256: str
    before: MetricsRecord
    after: MetricsRecord
    ap_change: float
    simulated_ap: float | None = None


@dataclass(frozen=True, kw_only=True)
class LatencyEntry:
    """A predicted latency; see `ofa_det.latency.LatencyPrediction`. Manifests before 0.4 have no last three."""

    mean_ms: float
    error_ms: float
    device: str
    runtime: str
    precision: str
    threads: int
    excluded: str
    postprocessing_ms: float = 0.0
    rests_on: str = ""
    extrapolated: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`35.1 ms ± 2.1 ms`."""
        return f"{self.mean_ms:.1f} ms ± {self.error_ms:.1f} ms"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`manifest.json`.

    Args:
        format: of the file.
        model: the file.
        class_category_ids: the category id of each class index of the file, None for an unused one.
        input, outputs: of the file.
        quantization: None of a float file.
        verification: how the file's raw outputs compare with torch's.
        network: what network it is.
        postprocess: how its outputs become detections.
        source: where it comes from.
        export: settings of the export.
        accuracy: before and after; None until measured.
        latency: predicted; None of a file without a latency model.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    format: str
    model: ModelEntry
    class_category_ids: tuple[int | None, ...]
    input: TensorEntry
    outputs: tuple[TensorEntry, ...]
    quantization: QuantizationEntry | None
    verification: Mapping[str, float]
    network: NetworkEntry
    postprocess: PostProcessConfig
    source: SourceEntry
    export: Mapping[str, Any]
    accuracy: AccuracyEntry | None = None
    latency: LatencyEntry | None = None


def read_manifest(model: Path) -> Manifest | None:
    """The manifest beside a model file; None without one.

    Raises:
        ValueError: the manifest is damaged or describes another file.
    """
    path = model.with_name(MANIFEST_FILE)
    if not path.is_file():
        return None
    manifest = read_record(path, Manifest)
    if manifest.model.sha256 != model_sha256(model):
        raise ValueError(
            f"expected {path} to describe {model.name}, found the hash of another file; "
            "export the model again, or move it away from that manifest"
        )
    return manifest
