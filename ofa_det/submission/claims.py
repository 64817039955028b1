"""`claims.json`: every number of a submission, so that each can be made anew and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from ofa_det.artefacts.manifest import LatencyEntry, MetricsRecord
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig
from ofa_det.evaluation.metrics import Metrics, coco_metrics
from ofa_det.search.objective import FRONTIER_INTERCEPT, FRONTIER_SLOPE
from ofa_det.submission.provenance import TeacherEntry, TrainingEntry

CLAIMS_FILE: Final = "claims.json"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """The model file."""

    name: str
    bytes: int
    md5: str
    sha256: str
    input_size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ImagesEntry:
    """The images that AP was measured on.

    Args:
        data: the data set.
        sha256: fingerprint of the images.
        chosen: whether image_ids.txt chooses them from the validation images.
    """

    data: DataConfig
    sha256: str
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class CompetitionScores:
    """OVIC's columns; APs in percent.

    Args:
        latency_ms: of one image.
        latency_is: where that is from.
        frontier_ap: of the frontier of April 2020 at that latency.
        above_frontier: AP of the file less that.
        ap_per_ms: AP by latency.
        time_limit_ms: for one image.
        images_in_time: processed within the time that the limit gives for all images.
        ap_in_time: with nothing detected in the others.
    """

    latency_ms: float
    latency_is: Literal["predicted", "measured"]
    frontier_ap: float
    above_frontier: float
    ap_per_ms: float
    time_limit_ms: float
    images_in_time: int
    ap_in_time: float


@dataclass(frozen=True, kw_only=True)
class MeasuredEntry:
    """A latency that the author measured, and on what."""

    mean_ms: float
    on: str


@dataclass(frozen=True, kw_only=True)
class TorchEntry:
    """AP of the network that the file was made from, and of the file, on the same images.

    Args:
        source: `run folder`, scored beside the file, or `manifest`, as the export had measured it.
        images: how many.
        images_sha256: their fingerprint.
        torch_ap, file_ap: as fractions.
    """

    source: Literal["run folder", "manifest"]
    images: int
    images_sha256: str
    torch_ap: float
    file_ap: float


@dataclass(frozen=True, kw_only=True)
class Story:
    """What the author says; see `PackageConfig`."""

    authors: str = ""
    description: str = ""
    licence: str = ""
    data_licence: str = ""
    limits: str = ""


@dataclass(frozen=True, kw_only=True)
class Claims:
    """`claims.json`.

    Args:
        file: the model.
        images: that AP was measured on.
        metrics: of the file.
        latency: predicted from the file.
        measured: latency, if it was.
        scores: of the competition.
        torch: AP of the network before the export; None of a file made elsewhere.
        trainings: that led to the weights, the last first.
        teachers: whose labels they used.
        story: what the author says.
        software: versions by package.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    file: FileEntry
    images: ImagesEntry
    metrics: MetricsRecord
    latency: LatencyEntry
    measured: MeasuredEntry | None
    scores: CompetitionScores
    torch: TorchEntry | None
    trainings: tuple[TrainingEntry, ...]
    teachers: tuple[TeacherEntry, ...]
    story: Story
    software: Mapping[str, str]


def frontier_ap(latency_ms: float) -> float:
    """AP in percent on OVIC's frontier of April 2020; 23.04 at 30 ms."""
    return FRONTIER_SLOPE * math.log(latency_ms) + FRONTIER_INTERCEPT


def competition_scores(
    metrics: Metrics,
    dataset: CocoDataset,
    *,
    latency: LatencyEntry,
    measured: MeasuredEntry | None,
    time_limit_ms: float,
) -> CompetitionScores:
    """OVIC's columns; a measured latency counts for more than a predicted one.

    Args:
        metrics: of the file on the data set.
        dataset: its images, in the order of processing.
        latency: predicted.
        measured: if it was.
        time_limit_ms: for one image.
    """
    latency_ms = latency.mean_ms if measured is None else measured.mean_ms
    in_time = min(len(dataset), math.floor(len(dataset) * time_limit_ms / latency_ms + 1e-9))
    if in_time == len(dataset):
        ap_in_time = metrics.ap
    else:
        seen = {dataset.image_id(index) for index in range(in_time)}
        kept = [result for result in metrics.results if result["image_id"] in seen]
        ap_in_time = coco_metrics(dataset.ground_truth(), kept).ap
    frontier = frontier_ap(latency_ms)
    return CompetitionScores(
        latency_ms=latency_ms,
        latency_is="predicted" if measured is None else "measured",
        frontier_ap=frontier,
        above_frontier=100 * metrics.ap - frontier,
        ap_per_ms=100 * metrics.ap / latency_ms,
        time_limit_ms=time_limit_ms,
        images_in_time=in_time,
        ap_in_time=100 * ap_in_time,
    )
