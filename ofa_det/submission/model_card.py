"""`MODEL_CARD.md` of a submission."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ofa_det.artefacts.manifest import LatencyEntry, Manifest
from ofa_det.evaluation.metrics import NAMES, Metrics

# OVIC's frontier of April 2020: mAP in percent that a model of t ms is expected to have, k ln t + a0.
FRONTIER_SLOPE = 16.894553358968146
FRONTIER_OFFSET = -34.42191514521174


@dataclass(frozen=True, kw_only=True)
class SubmissionFacts:
    """What a model card is written from.

    Args:
        file_name: of the model.
        md5: of the model, hexadecimal.
        size_bytes: of the model.
        metrics: of the file on the validation images.
        data: annotation file and image folder that AP was measured on.
        input_size: (height, width), in pixels.
        latency: predicted.
        manifest: of the export folder; None of a file made elsewhere.
    """

    file_name: str
    md5: str
    size_bytes: int
    metrics: Metrics
    data: str
    input_size: tuple[int, int]
    latency: LatencyEntry
    manifest: Manifest | None


def frontier_ap(latency_ms: float) -> float:
    """AP in percent on OVIC's frontier of April 2020; 23.04 at 30 ms."""
    return FRONTIER_SLOPE * math.log(latency_ms) + FRONTIER_OFFSET


def model_card(facts: SubmissionFacts) -> str:
    """The card as Markdown."""
    sections = (_summary, _accuracy, _interface, _latency, _making)
    return "\n".join(line for section in sections for line in (*section(facts), "")).rstrip() + "\n"


def _summary(facts: SubmissionFacts) -> Sequence[str]:
    return (
        f"# {facts.file_name}",
        "",
        f"Object detector for phones, {facts.size_bytes / 1e6:.2f} MB, MD5 `{facts.md5}`.",
        f"AP {_percent(facts.metrics.ap)} on {facts.metrics.record.images} images; predicted latency {facts.latency} "
        f"on a {facts.latency.device} ({facts.latency.runtime}).",
    )


def _accuracy(facts: SubmissionFacts) -> Sequence[str]:
    record = facts.metrics.record
    lines = [
        "## Accuracy",
        "",
        f"Measured on this file, with images stretched bilinearly to its input as OVIC does, on {facts.data}; "
        "COCO box metrics by pycocotools, in percent.",
        "",
        "| " + " | ".join(NAMES) + " |",
        "|" + " --- |" * len(NAMES),
        "| " + " | ".join(_percent(getattr(record, name)) for name in NAMES) + " |",
        "",
        "| category | id | AP |",
        "| --- | --- | --- |",
        *(f"| {entry.name} | {entry.id} | {_percent(entry.AP)} |" for entry in record.classes),
    ]
    if facts.manifest is not None and facts.manifest.accuracy is not None:
        before = facts.manifest.accuracy.before
        lines += ["", f"Before quantization, on {before.images} images: AP {_percent(before.AP)}."]
    return lines


def _interface(facts: SubmissionFacts) -> Sequence[str]:
    height, width = facts.input_size
    return (
        "## Interface",
        "",
        f"Input: uint8 `[1, {height}, {width}, 3]`, RGB bytes of the image stretched to {width} x {height} px, without "
        "letterbox and without normalisation.",
        "",
        "| output | type and shape | content |",
        "| --- | --- | --- |",
        "| 0 | float32 `[1, 100, 4]` | boxes: ymin, xmin, ymax, xmax as fractions of the image |",
        "| 1 | float32 `[1, 100]` | classes: category id = round(class + 1) |",
        "| 2 | float32 `[1, 100]` | scores, descending |",
        "| 3 | float32 `[1]` | number of detections |",
    )


def _latency(facts: SubmissionFacts) -> Sequence[str]:
    latency = facts.latency
    on_frontier = frontier_ap(latency.mean_ms)
    distance = 100 * facts.metrics.ap - on_frontier
    return (
        "## Latency",
        "",
        f"Predicted, not measured: **{latency}** ({latency.device}, runtime {latency.runtime}, {latency.precision}, "
        f"{latency.threads} thread; without {latency.excluded}). The error is one standard error of predictions for "
        "network families that the model was not fitted to.",
        *_basis(latency),
        "",
        f"OVIC's frontier of April 2020 has {on_frontier:.1f} AP at that latency on COCO; this file is "
        f"{distance:+.1f} from it on the data above, which compares only if that data is COCO's.",
    )


def _basis(latency: LatencyEntry) -> Sequence[str]:
    """What the prediction rests on, and what lies outside of it."""
    lines = [f"- The error rests on {latency.rests_on}."] if latency.rests_on else []
    if latency.postprocessing_ms:
        lines.append(f"- Post-processing is {latency.postprocessing_ms:.1f} ms of it.")
    lines += [f"- Extrapolated: {note}." for note in latency.extrapolated]
    return ("", *lines) if lines else ()


def _making(facts: SubmissionFacts) -> Sequence[str]:
    manifest = facts.manifest
    if manifest is None:
        return ("## How it was made", "", "Unknown: no manifest.json of an export lay beside the file.")
    network, source, quantization = manifest.network, manifest.source, manifest.quantization
    lines = [
        "## How it was made",
        "",
        f"- Network: `{network.subnet}` of {network.macs / 1e6:.1f} M multiply-accumulates and "
        f"{network.parameters / 1e6:.2f} M parameters, {network.anchors} anchors.",
        f"- Weights: `{source.run_folder}`, sha256 `{source.weights_sha256}`.",
    ]
    if quantization is not None:
        lines.append(f"- Quantization: {quantization.method}, {quantization.calibration_images} training images.")
        lines.append(
            f"- Raw outputs against float32: box codes {manifest.verification['box_code_sqnr_db']:.1f} dB, scores "
            f"{manifest.verification['score_sqnr_db']:.1f} dB signal to quantization noise."
        )
    return lines


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
