"""`MODEL_CARD.md` of a submission; every number in it is one of `claims.json`."""

from __future__ import annotations

from collections.abc import Sequence

from ofa_det.artefacts.manifest import Manifest
from ofa_det.evaluation.metrics import NAMES, percent
from ofa_det.submission.claims import CLAIMS_FILE, Claims

EXPORT_CONFIG = "export.yaml"


def model_card(claims: Claims, manifest: Manifest | None) -> str:
    """The card as Markdown.

    Args:
        claims: of the submission.
        manifest: of the export; None of a file made elsewhere.
    """
    sections = (
        _summary(claims),
        _table(claims),
        _algorithm(claims, manifest),
        _data(claims),
        _accuracy(claims),
        _latency(claims),
        _interface(claims),
        _limits(claims),
        _licence(claims),
        _commands(claims),
        _software(claims),
    )
    return "\n".join(line for section in sections for line in (*section, "")).rstrip() + "\n"


def _summary(claims: Claims) -> Sequence[str]:
    story, latency = claims.story, claims.latency
    description = story.description or "Object detector for phones."
    return (
        f"# {claims.file.name}",
        "",
        f"Authors: {story.authors or 'not named (--authors)'}",
        "",
        description,
        f"AP {percent(claims.metrics.AP)} on {claims.metrics.images} images; predicted latency {latency} on a "
        f"{latency.device} ({latency.runtime}).",
    )


def _table(claims: Claims) -> Sequence[str]:
    file, latency = claims.file, claims.latency
    measured = "-" if claims.measured is None else f"{claims.measured.mean_ms:.1f} ms"
    return (
        "## Model",
        "",
        "| file | input | MB | AP | latency, predicted | latency, measured | MD5 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| {file.name} | uint8 {file.input_size[1]} x {file.input_size[0]} | {file.bytes / 1e6:.2f} | "
        f"{percent(claims.metrics.AP)} | {latency} | {measured} | `{file.md5}` |",
    )


def _algorithm(claims: Claims, manifest: Manifest | None) -> Sequence[str]:
    if manifest is None:
        return ("## Algorithm", "", "Unknown: no manifest.json of an export lay beside the file.")
    network, quantization = manifest.network, manifest.quantization
    ranks = network.detector.ranks
    low_rank = f"; {len(ranks)} of its 1x1 convolutions are two of low rank" if ranks else ""
    lines = [
        "## Algorithm",
        "",
        "One subnet of an elastic (Once-for-All) backbone with an SSDLite head, its outputs suppressed by "
        f"TFLite_Detection_PostProcess ({'class by class' if manifest.postprocess.regular_nms else 'fast'}).",
        "",
        f"- Network: `{network.subnet}` of {network.macs / 1e6:.1f} M multiply-accumulates and "
        f"{network.parameters / 1e6:.2f} M parameters, {network.anchors} anchors{low_rank}.",
        f"- Weights: `{manifest.source.run_folder}`, sha256 `{manifest.source.weights_sha256}`.",
    ]
    for training in claims.trainings[1:]:
        lines.append(
            f"- Before it, as its {training.role}: `{training.run_folder}`, sha256 `{training.weights_sha256}`."
        )
    for teacher in claims.teachers:
        lines.append(
            f"- Teacher of `{teacher.run_folder}`: {teacher.name} ({teacher.kind}), licence {teacher.licence}, sha256 "
            f"`{teacher.sha256}`, by the labels in `{teacher.labels}`."
        )
    if quantization is not None:
        lines.append(f"- Quantization: {quantization.method}, {quantization.calibration_images} training images.")
        lines.append(
            f"- Raw outputs against float32: box codes {manifest.verification['box_code_sqnr_db']:.1f} dB, scores "
            f"{manifest.verification['score_sqnr_db']:.1f} dB signal to quantization noise."
        )
    return lines


def _data(claims: Claims) -> Sequence[str]:
    data, images = claims.images.data, claims.images
    chosen = ", those of image_ids.txt" if images.chosen else ""
    lines = [
        "## Data",
        "",
        f"Measured on {claims.metrics.images} images of `{data.val_annotations}` in `{data.root}`{chosen}, fingerprint "
        f"`{images.sha256}`; licence of the data: {claims.story.data_licence or 'not stated (--data_licence)'}.",
    ]
    if claims.trainings:
        lines.append(f"Trained on `{data.train_annotations}` or as the configurations of the trainings say.")
    return lines


def _accuracy(claims: Claims) -> Sequence[str]:
    record = claims.metrics
    lines = [
        "## Accuracy",
        "",
        "Of this file, with images stretched bilinearly to its input as OVIC does; COCO's box metrics, in percent.",
        "",
        "| " + " | ".join(NAMES) + " |",
        "|" + " --- |" * len(NAMES),
        "| " + " | ".join(percent(getattr(record, name)) for name in NAMES) + " |",
        "",
        "| category | id | AP |",
        "| --- | --- | --- |",
        *(f"| {entry.name} | {entry.id} | {percent(entry.AP)} |" for entry in record.classes),
    ]
    if claims.torch is not None:
        torch = claims.torch
        how = "scored beside the file" if torch.source == "run folder" else "as measured with the export"
        lines += [
            "",
            f"The network in torch, {how}: AP {percent(torch.torch_ap)} on {torch.images} images, where the file has "
            f"{percent(torch.file_ap)}.",
        ]
    return lines


def _latency(claims: Claims) -> Sequence[str]:
    latency, scores = claims.latency, claims.scores
    most = latency.mean_ms + latency.error_ms
    lines = [
        "## Latency and score",
        "",
        f"Predicted: **{latency}** ({latency.device}, runtime {latency.runtime}, {latency.precision}, "
        f"{latency.threads} thread; without {latency.excluded}), at most {most:.1f} ms one "
        "standard error above. The error is one standard error of predictions for network families that the model was "
        "not fitted to.",
    ]
    rests = [f"- The error rests on {latency.rests_on}."] if latency.rests_on else []
    if latency.postprocessing_ms:
        rests.append(f"- Post-processing is {latency.postprocessing_ms:.1f} ms of it.")
    rests += [f"- Extrapolated: {note}." for note in latency.extrapolated]
    if rests:
        lines += ["", *rests]
    measured = "Not measured on a phone."
    if claims.measured is not None:
        measured = f"Measured: **{claims.measured.mean_ms:.1f} ms** ({claims.measured.on}; stated by the author)."
    return [
        *lines,
        "",
        measured,
        "",
        f"| at {scores.latency_ms:.1f} ms, {scores.latency_is} | |",
        "| --- | --- |",
        f"| AP on OVIC's frontier of April 2020 | {scores.frontier_ap:.1f} |",
        f"| AP of this file above the frontier | {scores.above_frontier:+.1f} |",
        f"| AP per ms | {scores.ap_per_ms:.3f} |",
        f"| AP within {scores.time_limit_ms:g} ms an image | {scores.ap_in_time:.1f} ({scores.images_in_time} of "
        f"{claims.metrics.images} images in time) |",
        "",
        "The frontier is one of COCO; a distance from it means something where the data are COCO's.",
    ]


def _interface(claims: Claims) -> Sequence[str]:
    height, width = claims.file.input_size
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


def _limits(claims: Claims) -> Sequence[str]:
    record = claims.metrics
    lines = ["## Limits", ""]
    if claims.story.limits:
        lines.append(f"- {claims.story.limits}")
    if claims.measured is None:
        lines.append("- The latency is a prediction; no phone has run this file.")
    if record.images < 1000:
        lines.append(f"- AP is of {record.images} images, too few to tell differences of a point.")
    if record.APs is not None and record.AP and record.APs < record.AP / 2:
        lines.append(f"- Small objects (below 32 x 32 px) are found poorly: AP {percent(record.APs)}.")
    if unseen := [entry.name for entry in record.classes if entry.AP is None]:
        lines.append(f"- Without an object to measure on: {', '.join(unseen)}.")
    lines.append("- Images are stretched to the input, so objects in very long or tall images are distorted.")
    return lines


def _licence(claims: Claims) -> Sequence[str]:
    lines = ["## Licence", "", f"Of the model: {claims.story.licence or 'not stated (--licence)'}."]
    for name, licence in dict.fromkeys((teacher.name, teacher.licence) for teacher in claims.teachers):
        lines.append(f"Of the teacher {name}: {licence}.")
    return lines


def _commands(claims: Claims) -> Sequence[str]:
    """Trainings and export with the configurations in the folder, evaluation and the check of all claims."""
    root = claims.images.data.root
    where = "From where the first commands were typed, since paths start there, CARD being this folder:"
    lines = ["## Commands", "", where, "", "```"]
    lines += [
        f"ofa-det train --config CARD/{entry.config_file}" for entry in reversed(claims.trainings) if entry.config_file
    ]
    if claims.trainings:
        lines.append(f"ofa-det export --config CARD/{EXPORT_CONFIG}")
    lines += [
        f"ofa-det validate-submission CARD/{claims.file.name} --data.root {root}",
        f"ofa-det eval --model CARD/{claims.file.name} --data.root {root}",
        f"ofa-det package --verify CARD --data.root {root}",
        "```",
        "",
        f"The last makes every number in `{CLAIMS_FILE}` anew and compares it.",
    ]
    if labels := dict.fromkeys(teacher.labels for teacher in claims.teachers):
        folders = ", ".join(f"`{folder}`" for folder in labels)
        lines.append(f"Trainings read what `ofa-det label` had written to {folders}.")
    seeds = [f"{entry.seed} ({entry.run_folder})" for entry in claims.trainings if entry.seed is not None]
    if seeds:
        lines.append(f"Seeds: {', '.join(seeds)}.")
    return lines


def _software(claims: Claims) -> Sequence[str]:
    return ("## Software", "", ", ".join(f"{name} {version}" for name, version in claims.software.items()) + ".")
