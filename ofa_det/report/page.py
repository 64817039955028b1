"""The page of a build, part by part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from ofa_det.artefacts.build_record import cap_name
from ofa_det.evaluation.metrics import percent
from ofa_det.report.charts import Marker, Series, chart
from ofa_det.report.errors import DetectorErrors
from ofa_det.report.figures import search_figure, supernet_figure, training_figure
from ofa_det.report.html import (
    bar_cell,
    columns,
    facts,
    heat_cell,
    listed,
    paragraph,
    picture,
    section,
    table,
)
from ofa_det.report.misses import FALSE, HIT, MISSED
from ofa_det.report.sources import DetectorSources, Sources

_MOST_MATRIX_CLASSES = 12
_MOST_CONFUSIONS = 12
_MOST_OPS = 10
_MOST_CLASSES = 40


def page(sources: Sources, errors: Sequence[DetectorErrors | None]) -> str:
    """The whole page as HTML, with style and pictures within.

    Args:
        sources: artefacts of the build.
        errors: of each detector; None where they could not be made.
    """
    title = f"Detectors under {_caps(sources)}"
    style = Path(__file__).with_name("page.css").read_text()
    body = "".join(_parts(sources, errors))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n<body><main><h1>{escape(title)}</h1>\n{body}"
        "</main></body></html>\n"
    )


def _parts(sources: Sources, errors: Sequence[DetectorErrors | None]) -> Iterator[str]:
    yield _promise(sources)
    yield _front(sources)
    yield _training(sources)
    yield _accuracy(sources)
    for detector, found in zip(sources.detectors, errors, strict=True):
        yield _errors(sources, detector, found)
    for detector in sources.detectors:
        yield _detections(detector)
    for detector in sources.detectors:
        yield _latency(detector)
    yield _not_counted(sources)
    yield _phone(sources)
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
        "images, which neither training nor search has seen. Latencies are of one image and one thread, with "
        "post-processing.",
        soft=True,
    )
    return f'<div class="cards">{"".join(cards)}</div>{note}\n'


def _front(sources: Sources) -> str:
    series: list[Series] = []
    scored = sorted({(one.latency_ms, one.ap) for one in sources.scored})
    if scored:
        best: list[tuple[float, float]] = []
        for latency_ms, ap in scored:
            if not best or ap > best[-1][1]:
                best.append((latency_ms, ap))
        series.append(
            Series(
                name=f"{len(scored)} subnets scored in the search",
                xs=[x for x, _ in scored],
                ys=[100 * y for _, y in scored],
                colour=None,
                mark="dots",
            )
        )
        series.append(Series(name="their front", xs=[x for x, _ in best], ys=[100 * y for _, y in best], colour=None))
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
    return section("Accuracy against latency", drawn, paragraph(note, soft=True))


def _training(sources: Sources) -> str:
    figures = [] if sources.supernet is None else [supernet_figure(sources.supernet)]
    figures += [
        training_figure(detector.curves, title=f"Detector under {detector.built.latency_cap_ms:g} ms", colour=number)
        for number, detector in enumerate(sources.detectors)
    ]
    figures += [search_figure(sources.scored, sources.detectors)] if sources.record.elastic else []
    return section("Training and search", *figures)


def _accuracy(sources: Sources) -> str:
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


def _errors(sources: Sources, detector: DetectorSources, errors: DetectorErrors | None) -> str:
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
    body = [[escape(true), escape(found), str(-value)] for value, true, found in pairs]
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


def _detections(detector: DetectorSources) -> str:
    name = cap_name(detector.built.latency_cap_ms)
    change = 100 * (detector.built.int8_ap - detector.built.float_ap)
    check = detector.manifest.verification
    text = f"Ground truth, the int8 file, and the float detector: {change:+.1f} AP by quantization."
    if "box_code_sqnr_db" in check:
        text += (
            f" Raw outputs against torch: boxes {check['box_code_sqnr_db']:.1f} dB, scores "
            f"{check['score_sqnr_db']:.1f} dB of signal to noise."
        )
    return section(
        f"Detections, file against float: {name}",
        paragraph(text),
        picture(detector.contact_sheet, shows="ground truth, int8 and float detections side by side"),
    )


def _latency(detector: DetectorSources) -> str:
    layers, total = detector.latency.layers, detector.latency.mean_ms or 1.0
    kinds: dict[str, float] = {}
    for layer in layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0.0) + layer.latency_ms
    by_kind = sorted(kinds.items(), key=lambda item: -item[1])
    top = by_kind[0][1]
    kind_table = table(
        ["kind of op", "ms", "share", ""],
        [[escape(kind), f"{ms:.2f}", f"{ms / total:.0%}", bar_cell(ms / top)] for kind, ms in by_kind],
        kind="bars",
    )
    costly = sorted(layers, key=lambda layer: -layer.latency_ms)[:_MOST_OPS]
    op_table = table(
        ["costliest ops", "ms"],
        [[f'<td class="name">{escape(_op(layer.name))}</td>', f"{layer.latency_ms:.2f}"] for layer in costly],
    )
    network = detector.manifest.network
    head = facts(
        [
            ("network", str(network.subnet)),
            ("work", f"{network.macs / 1e6:.0f} M multiply-accumulates, {network.parameters / 1e6:.2f} M parameters"),
            ("post-processing", f"{detector.latency.postprocessing_ms:.1f} ms of {detector.latency}"),
        ]
    )
    return section(
        f"Where the milliseconds go: {cap_name(detector.built.latency_cap_ms)}", head, columns(kind_table, op_table)
    )


def _op(name: str) -> str:
    """The layer in the name of an op, which lists all that was fused into it."""
    first = name.split(";")[0]
    return re.sub(r"-\w+_\d+$", "", first.split("/")[1]) if first.count("/") else first


def _not_counted(sources: Sources) -> str:
    latency = sources.detectors[0].latency
    shared = [f"Not counted: {latency.excluded}.", f"The ± rests on {latency.rests_on}.", latency.error_source]
    parts = [listed(filter(None, shared))]
    for detector in sources.detectors:
        if detector.latency.extrapolated:
            parts.append(f"<h3>Extrapolated under {detector.built.latency_cap_ms:g} ms</h3>")
            parts.append(listed(detector.latency.extrapolated))
    images = sources.detectors[0].after.images
    parts.append(
        paragraph(
            f"The latency is a prediction for {latency.device} with {latency.runtime}, not a measurement on a phone; "
            f"other runtimes and phones differ. AP on {images} images is uncertain, too, and one training is one draw."
        )
    )
    return section("What was not counted", *parts)


def _phone(sources: Sources) -> str:
    detector = sources.detectors[0]
    manifest, root = detector.manifest, sources.folder.root
    model = root / detector.built.model
    commands = (
        f"ofa-det measure-latency --model {model} --device adb --per_op\n\n"
        "# the same by hand; benchmark_model is TensorFlow Lite's, mask 10 the first large core of a Pixel 2\n"
        f"adb push {model} /data/local/tmp/model.tflite\n"
        "adb shell taskset 10 /data/local/tmp/benchmark_model --graph=/data/local/tmp/model.tflite \\\n"
        "    --num_threads=1 --use_xnnpack=false --warmup_runs=5 --num_runs=50"
    )
    outputs = [
        [str(number), " x ".join(map(str, output.shape)), f'<td class="name">{escape(output.content)}</td>']
        for number, output in enumerate(manifest.outputs)
    ]
    classes = ", ".join(category.name for category in manifest.network.categories[:20])
    return section(
        "On a phone",
        f"<pre>{escape(commands)}</pre>",
        facts(
            [
                (
                    "input",
                    f"{' x '.join(map(str, manifest.input.shape))} {manifest.input.dtype}: {manifest.input.content}",
                ),
                ("classes", f"labels.txt beside the file, a line for each index: {classes}"),
            ]
        ),
        table(["output", "shape", "content"], outputs),
    )


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
        listed(f"Warning: {warning}" for warning in seen.warnings),
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
