"""Sections of the page: the milliseconds, what they leave out, and the phone."""

from __future__ import annotations

import re
from html import escape

from ofa_det.artefacts.build_record import cap_name
from ofa_det.report.html import bar_cell, columns, facts, listed, paragraph, section, table
from ofa_det.report.sources import DetectorSources, Sources

_MOST_OPS = 10


def latency_section(detector: DetectorSources) -> str:
    """Where the milliseconds of a file go."""
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


def not_counted_section(sources: Sources) -> str:
    """What the numbers leave out."""
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


def phone_section(sources: Sources) -> str:
    """How a file is run on a phone."""
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
        table(["output", "shape", "content"], outputs, kind="texts"),
    )
