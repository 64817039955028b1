"""Sections of the page: what the files find, and what they get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ofa_det.artefacts.build_record import cap_name
from ofa_det.evaluation.metrics import percent
from ofa_det.report.errors import DetectorErrors
from ofa_det.report.html import bar_cell, heat_cell, paragraph, picture, section, table
from ofa_det.report.misses import FALSE, HIT, MISSED
from ofa_det.report.sources import DetectorSources, Sources

_MOST_MATRIX_CLASSES = 12
_MOST_CONFUSIONS = 12
_MOST_CLASSES = 40


def accuracy_section(sources: Sources) -> str:
    """AP of every file by size and class."""
    detectors = sources.detectors
    names = [cap_name(detector.built.latency_cap_ms) for detector in detectors]
    keys = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")
    sizes = table(
        ["", *keys],
        [
            [f"{name}, {what}", *(percent(getattr(record, key)) for key in keys)]
            for name, detector in zip(names, detectors, strict=True)
            for what, record in (("int8", detector.after), ("float", detector.before))
        ],
    )
    classes = sorted(detectors[0].after.classes, key=lambda entry: -1.0 if entry.AP is None else -entry.AP)
    by_id = [{entry.id: entry.AP for entry in detector.after.classes} for detector in detectors]
    objects = {entry.id: entry.objects for entry in sources.inspection.classes}
    rows = [
        [
            f'<td class="name">{escape(entry.name)}</td>',
            *(percent(aps[entry.id]) for aps in by_id),
            bar_cell(entry.AP or 0.0),
            str(objects.get(entry.id, {}).get("train", "-")),
            str(objects.get(entry.id, {}).get("val", "-")),
        ]
        for entry in classes[:_MOST_CLASSES]
    ]
    by_class = table(["class", *names, "", "train", "val"], rows, kind="bars")
    more = len(classes) - _MOST_CLASSES
    return section(
        "Accuracy by size and class",
        sizes,
        paragraph(
            "In percent. Small, medium and large objects (APs, APm, APl) have up to 32² and 96² pixels of the original "
            "image and above; a dash stands where the data have none.",
            soft=True,
        ),
        "<h3>By class, int8 files</h3>",
        by_class,
        paragraph(f"{more} more classes are in metrics.json.", soft=True) if more > 0 else "",
    )


def errors_section(sources: Sources, detector: DetectorSources, errors: DetectorErrors | None) -> str:
    """What a file confuses, and the images it gets worst."""
    title = f"What it gets wrong: {cap_name(detector.built.latency_cap_ms)}"
    if errors is None:
        return section(
            title, paragraph(f"The pictures need the data set, which is not at {sources.data.root} any more.")
        )
    head = paragraph(
        f"At score {errors.threshold:g}, where precision ({percent(errors.precision)}) and recall "
        f"({percent(errors.recall)}) are together best; class right and IoU at least 0.5."
    )
    return section(title, head, _confusion(errors), *_worst(sources, errors))


def _confusion(errors: DetectorErrors) -> str:
    names, rows = (*errors.classes, "nothing"), errors.confusion
    last = len(names) - 1
    if len(errors.classes) <= _MOST_MATRIX_CLASSES:
        body = [
            [
                f'<td class="name">{escape(name)}</td>',
                *(
                    heat_cell(value, value / max(1, sum(row)), right=column == number)
                    for column, value in enumerate(row)
                    if number != last or column != last
                ),
            ]
            for number, (name, row) in enumerate(zip(names, rows, strict=True))
        ]
        return "<h3>Confusion: true classes by row, found ones by column</h3>" + table(["", *names], body, kind="heat")
    pairs = sorted(
        (
            (-value, names[number], names[column])
            for number, row in enumerate(rows)
            for column, value in enumerate(row)
            if number != column and value
        )
    )[:_MOST_CONFUSIONS]
    body = [
        [*(f'<td class="name">{escape(name)}</td>' for name in (true, found)), str(-value)]
        for value, true, found in pairs
    ]
    return "<h3>Commonest confusions</h3>" + table(["truth", "found", "times"], body)


def _worst(sources: Sources, errors: DetectorErrors) -> Iterator[str]:
    if not errors.worst:
        yield paragraph("No image has an error at this score.")
        return
    key = "".join(
        f'<i style="border-color:rgb{colour}"></i>{text}'
        for colour, text in ((HIT, "found"), (MISSED, "missed"), (FALSE, "nothing there, or another class"))
    )
    yield f'<h3>The images it gets worst</h3><p class="soft key">{key}</p>'
    figures = [
        picture(
            (sources.folder.root / name).read_bytes(),
            shows=f"errors on {image.file_name}",
            caption=f"{image.file_name}: {image.missed} missed, {image.false} false, {image.confused} confused",
        )
        for image, name in zip(errors.worst, errors.pictures, strict=True)
    ]
    yield f'<div class="pictures">{"".join(figures)}</div>'


def detections_section(detector: DetectorSources) -> str:
    """Detections of a file beside those of the float detector."""
    name = cap_name(detector.built.latency_cap_ms)
    built, check = detector.built, detector.manifest.verification
    aps = percent(built.int8_ap), percent(built.float_ap)
    text = f"Ground truth, the int8 file (AP {aps[0]}), and the float detector ({aps[1]})."
    if "box_code_sqnr_db" in check:
        text += (
            f" Raw outputs against torch: boxes {check['box_code_sqnr_db']:.1f} dB, scores "
            f"{check['score_sqnr_db']:.1f} dB of signal to noise."
        )
    return section(
        f"Detections, file against float: {name}",
        paragraph(text),
        picture(detector.contact_sheet, shows="ground truth, int8 and float detections side by side", wide=True),
    )
