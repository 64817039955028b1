"""The page of a build, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ofa_det.evaluation.metrics import percent
from ofa_det.report.accuracy import accuracy_section, detections_section, errors_section
from ofa_det.report.charts import Marker, Series, chart
from ofa_det.report.errors import DetectorErrors
from ofa_det.report.figures import search_figure, supernet_figure, training_figure
from ofa_det.report.html import bar_cell, document, facts, listed, paragraph, section, table
from ofa_det.report.latency import latency_section, not_counted_section, phone_section
from ofa_det.report.search_page import architectures_figure, verdicts
from ofa_det.report.sources import Sources
from ofa_det.search.report import pareto_front

_MOST_WARNINGS = 20


def page(sources: Sources, errors: Sequence[DetectorErrors | None]) -> str:
    """The whole page as HTML, with style and pictures within.

    Args:
        sources: artefacts of the build.
        errors: of each detector; None where they could not be made.
    """
    return document(f"Detectors under {_caps(sources)}", *_parts(sources, errors))


def _parts(sources: Sources, errors: Sequence[DetectorErrors | None]) -> Iterator[str]:
    yield _promise(sources)
    yield _warnings(sources)
    yield _front(sources)
    yield _training(sources)
    yield accuracy_section(sources)
    for detector, found in zip(sources.detectors, errors, strict=True):
        yield errors_section(sources, detector, found)
    for detector in sources.detectors:
        yield detections_section(detector)
    for detector in sources.detectors:
        yield latency_section(detector)
    yield not_counted_section(sources)
    yield phone_section(sources)
    yield _data(sources)
    yield _repeat(sources)


def _caps(sources: Sources) -> str:
    return " and ".join(f"{built.latency_cap_ms:g} ms" for built in sources.record.detectors)


def _promise(sources: Sources) -> str:
    cards = []
    for number, detector in enumerate(sources.detectors):
        built = detector.built
        latency = detector.latency
        rows = facts(
            [
                ("predicted", f"{latency} on {latency.device}"),
                ("at most", f"{built.at_most_ms:.1f} ms ({sources.record.safety:g} standard error above)"),
                ("size", f"{built.bytes / 1e6:.2f} MB, int8"),
                ("float", f"AP {percent(built.float_ap)} before export"),
                ("here", f"{built.host_ms:.1f} ms measured on the building machine, one thread"),
                ("file", built.model),
                ("package", built.submission),
            ]
        )
        cards.append(
            f'<div class="card" style="border-top-color:var(--c{number % 6})"><div class="cap">cap '
            f"{built.latency_cap_ms:g} ms</div>"
            f'<div class="ap">{percent(built.int8_ap)} <small>AP of the file</small></div>{rows}</div>'
        )
    images = sources.detectors[0].after.images
    note = paragraph(
        f"Made from {sources.data.root}. AP is COCO's (0.50:0.95), of the int8 file itself on {images} validation "
        "images, which neither training nor search reads. Latencies are of one image and one thread, with "
        "post-processing.",
        soft=True,
    )
    return f'<div class="cards">{"".join(cards)}</div>{note}\n'


def _warnings(sources: Sources) -> str:
    """What the stages warned of; nothing where none did."""
    found = [("inspection", warning) for warning in sources.inspection.warnings]
    found += [(entry.name, warning) for entry in sources.record.stages for warning in entry.warnings]
    told = [f"{stage}: {warning}" for stage, warning in dict.fromkeys(found)]
    more = [f"{len(told) - _MOST_WARNINGS} more are in build.json"] if len(told) > _MOST_WARNINGS else []
    return section("Warnings", listed([*told[:_MOST_WARNINGS], *more])) if told else ""


def _front(sources: Sources) -> str:
    series: list[Series] = []
    scored = sources.scored
    if scored:
        front = pareto_front(scored)
        series.append(
            Series(
                name=f"{len(scored)} subnets scored in the search",
                xs=[one.latency_ms for one in scored],
                ys=[100 * one.ap for one in scored],
                colour=None,
                mark="dots",
            )
        )
        xs, ys = [one.latency_ms for one in front], [100 * one.ap for one in front]
        series.append(Series(name="their front", xs=xs, ys=ys, colour=None))
    for number, detector in enumerate(sources.detectors):
        built = detector.built
        series.append(
            Series(
                name=f"file under {built.latency_cap_ms:g} ms: AP {percent(built.int8_ap)}",
                xs=[built.latency_ms],
                ys=[100 * built.int8_ap],
                colour=number,
                mark="dots",
                x_errors=[built.latency_error_ms],
            )
        )
    drawn = chart(
        series,
        x_label="predicted latency, ms",
        y_label="AP, percent",
        title="accuracy against latency",
        markers=[
            Marker(x=built.latency_cap_ms, name=f"cap {built.latency_cap_ms:g}") for built in sources.record.detectors
        ],
    )
    note = (
        "Files: AP on the validation images; the bars are one standard error of the predicted latency. Grey: AP on "
        "training images that the supernet held out, with its weights as they are, before fine-tuning; compare those "
        "among themselves."
        if scored
        else "AP on the validation images; the bars are one standard error of the predicted latency."
    )
    told = () if sources.search is None else verdicts(sources.search)
    return section(
        "Accuracy against latency",
        drawn,
        paragraph(note, soft=True),
        listed(told),
        "" if sources.architectures is None else architectures_figure(sources.architectures),
    )


def _training(sources: Sources) -> str:
    figures = [] if sources.supernet is None else [supernet_figure(sources.supernet)]
    for number, detector in enumerate(sources.detectors):
        if detector.built.trained_for_ms is None:
            title = f"Detector under {_caps_of_training(sources, detector.built.latency_cap_ms)}"
            figures.append(training_figure(detector.curves, title=title, colour=number))
    figures += [search_figure(sources.scored, sources.detectors)] if sources.record.elastic else []
    return section("Training and search", *figures)


def _caps_of_training(sources: Sources, cap_ms: float) -> str:
    """The caps that one training serves."""
    detectors = sources.record.detectors
    return " and ".join(f"{built.latency_cap_ms:g} ms" for built in detectors if built.training_cap_ms == cap_ms)


def _data(sources: Sources) -> str:
    seen = sources.inspection
    rows = [
        [name, str(part.images), str(part.objects), *(f"{size / max(1, part.objects):.0%}" for size in part.sizes)]
        for name, part in seen.splits.items()
    ]
    return section(
        "Data",
        paragraph(f"{seen.root}, objects as at {seen.resolution} px"),
        table(["part", "images", "objects", "< 8 px", "8-32", "32-96", "> 96"], rows),
    )


def _repeat(sources: Sources) -> str:
    record = sources.record
    slowest = max(entry.seconds for entry in record.stages) or 1.0
    times = table(
        ["stage", "time", ""],
        [[escape(entry.name), _minutes(entry.seconds), bar_cell(entry.seconds / slowest)] for entry in record.stages],
        kind="bars",
    )
    return section(
        "How it was made",
        paragraph(f"{_minutes(record.seconds)} on {record.machine}."),
        listed(record.notes),
        times,
        "<h3>All commands</h3>",
        f"<pre>{escape(sources.commands)}</pre>",
        paragraph(f"The page again, from the files alone: ofa-det report {sources.folder.root}", soft=True),
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
