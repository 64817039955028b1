"""Two detectors on one data set: which is better, by how much, and is it more than chance?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ofa_det.arch.description import PostProcessChange
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import MetricsRecord
from ofa_det.artefacts.model_file import MODEL_FILE, model_sha256
from ofa_det.artefacts.records import write_record
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, Split, open_split
from ofa_det.evaluation.engines import CategoryMatches, category_matches
from ofa_det.evaluation.front_plot import ScoredModel, front_plot
from ofa_det.evaluation.metrics import Metrics
from ofa_det.evaluation.pictures import contact_sheet, write_picture
from ofa_det.evaluation.predictors import check_parallel, open_predictor
from ofa_det.evaluation.resampling import Interval, bootstrap, permutation_p
from ofa_det.evaluation.scoring import score
from ofa_det.latency.predict import PredictLatencyConfig, predict_latency

COMPARISON_FILE = "comparison.json"
FRONT_FILE = "front.png"


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Comparison of two detectors.

    Args:
        first: run folder, .onnx file, or any .tflite detector that ends in TFLite_Detection_PostProcess.
        second: the other.
        beside: more of them, scored on the same images and drawn with the two in front.png.
        data: the data set, in COCO layout.
        split: images to score on: val, train, or the fit and holdout parts of train.
        output: folder for comparison.json, contact_sheet.jpg and, with models beside, front.png.
        resamples: data sets that the confidence intervals rest on, drawn from the images with replacement.
        permutations: that the paired test rests on.
        confidence: of the intervals, between 0 and 1.
        seed: of both.
        nms: post-processing settings instead of the models' own, for both.
        device: whose latency is predicted: pixel2, or the file of a table.
        accelerator: torch device for a run folder's network: auto, cpu, cuda or cuda:N.
        workers: images that a file is run on side by side, with the same detections; 0 for the cores there are.
        threads: of a file's runtime, for one image.
    """

    first: str
    second: str
    data: DataConfig
    beside: tuple[str, ...] = ()
    split: Split = "val"
    output: str = "runs/comparison"
    resamples: int = 1_000
    permutations: int = 1_000
    confidence: float = 0.95
    seed: int = 0
    nms: PostProcessChange = field(default_factory=PostProcessChange)
    device: str = "pixel2"
    accelerator: str = "cpu"
    workers: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.resamples < 2 or self.permutations < 1:
            raise ValueError(
                f"expected resamples >= 2 and permutations >= 1, found {self.resamples} and {self.permutations}"
            )
        if not 0 < self.confidence < 1:
            raise ValueError(f"expected confidence between 0 and 1, found {self.confidence}")
        check_parallel(self.workers, self.threads)


@dataclass(frozen=True, kw_only=True)
class PredictedMs:
    """Predicted latency of a model.

    Args:
        mean_ms, error_ms: expected, and its standard error.
        device, runtime, precision, threads: whose it is.
    """

    mean_ms: float
    error_ms: float
    device: str
    runtime: str
    precision: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One of the models.

    Args:
        model, model_sha256: the run folder or file, and the hash of its weights.
        size_bytes: of the file; of a run folder, of its weights.
        latency: predicted; None where the model is of no kind that can be predicted.
        metrics: on the data set.
    """

    model: str
    model_sha256: str
    size_bytes: int
    latency: PredictedMs | None
    metrics: MetricsRecord


@dataclass(frozen=True, kw_only=True)
class ClassDifference:
    """AP of a class with both, as fractions; None where the data set has no object of it."""

    id: int
    name: str
    first: float | None
    second: float | None
    difference: Interval


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`comparison.json`: two models on the same images; differences are those of second minus first, as fractions.

    Args:
        first, second: the models.
        ap_difference: with its interval.
        p_value: of the paired permutation test: how often chance alone gives as large a difference of AP.
        classes: by ascending id.
        images, images_sha256: how many, and which.
        data_root, split: the data set and its part.
        resamples, permutations, confidence, seed: that intervals and test rest on.
        postprocess: settings that replaced the models' own.
        beside: models that were scored on the same images.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    first: Compared
    second: Compared
    ap_difference: Interval
    p_value: float
    classes: tuple[ClassDifference, ...]
    images: int
    images_sha256: str
    data_root: str
    split: str
    resamples: int
    permutations: int
    confidence: float
    seed: int
    postprocess: PostProcessChange
    beside: tuple[Compared, ...] = ()

    @property
    def scored(self) -> tuple[ScoredModel, ...]:
        """All models whose AP and latency are known."""
        return tuple(
            ScoredModel(name=one.model, ap=one.metrics.AP, latency_ms=one.latency.mean_ms)
            for one in (self.first, self.second, *self.beside)
            if one.latency is not None and one.metrics.AP is not None
        )


def compare(config: CompareConfig, *, progress: bool = True) -> Comparison:
    """Scores all on the same images, and writes `comparison.json`, `contact_sheet.jpg` and `front.png`.

    Args:
        config: what to compare.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such model or data set.
        ValueError: not a detector that can be run, or no object to find.
    """
    dataset = open_split(config.data, config.split)
    paths = (config.first, config.second, *config.beside)
    predictors = [
        open_predictor(
            path,
            accelerator=config.accelerator,
            postprocess=config.nms,
            threads=config.threads,
            workers=config.workers,
        )
        for path in paths
    ]
    latencies = [_latency(path, config.device) for path in paths]
    metrics = [score(predictor, dataset, progress=progress) for predictor in predictors]
    sides = [_matches(dataset, measured) for measured in metrics[:2]]
    whole, classes = bootstrap(*sides, resamples=config.resamples, confidence=config.confidence, seed=config.seed)
    first, second, *beside = (
        Compared(
            model=path,
            model_sha256=model_sha256(path),
            size_bytes=(Path(path) / MODEL_FILE if Path(path).is_dir() else Path(path)).stat().st_size,
            latency=latency,
            metrics=measured.record,
        )
        for path, latency, measured in zip(paths, latencies, metrics, strict=True)
    )
    comparison = Comparison(
        first=first,
        second=second,
        ap_difference=whole,
        p_value=permutation_p(*sides, permutations=config.permutations, seed=config.seed),
        classes=tuple(
            ClassDifference(id=one.id, name=one.name, first=one.AP, second=other.AP, difference=interval)
            for one, other, interval in zip(first.metrics.classes, second.metrics.classes, classes, strict=True)
        ),
        images=len(dataset),
        images_sha256=dataset.fingerprint(),
        data_root=config.data.root,
        split=config.split,
        resamples=config.resamples,
        permutations=config.permutations,
        confidence=config.confidence,
        seed=config.seed,
        postprocess=config.nms,
        beside=tuple(beside),
    )
    output = Path(config.output)
    write_record(output / COMPARISON_FILE, comparison)
    titles = dict(zip(("first", "second"), predictors, strict=False))
    write_picture(output / "contact_sheet.jpg", contact_sheet(dataset, titles))
    if comparison.beside and comparison.scored:
        write_atomically(output / FRONT_FILE, front_plot(comparison.scored, device=config.device))
    return comparison


def _matches(dataset: CocoDataset, measured: Metrics) -> tuple[CategoryMatches, ...]:
    return category_matches(dataset.ground_truth(), measured.results)


def _latency(path: str, device: str) -> PredictedMs | None:
    """Of a run folder (as it would ship) or a .tflite file; the figures behind the model are of no other runtime."""
    if not Path(path).is_dir() and Path(path).suffix != ".tflite":
        return None
    (named,) = predict_latency(PredictLatencyConfig(model=path, device=device))
    found = named.prediction
    return PredictedMs(
        mean_ms=found.mean_ms,
        error_ms=found.error_ms,
        device=found.device,
        runtime=found.runtime,
        precision=found.precision,
        threads=found.threads,
    )
