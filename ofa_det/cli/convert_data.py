"""Converts a data set."""

from __future__ import annotations

from collections.abc import Iterator

from ofa_det.artefacts.records import to_plain
from ofa_det.cli.command import Printed, command
from ofa_det.data.formats.conversion import Conversion, ConvertConfig, convert

_MOST_CLASSES = 10
"""Classes that the table shows; it is for the eye, and the file has them all."""


def run(config: ConvertConfig) -> Printed:
    """Converts; gives what came of it."""
    done = convert(config)
    values = {"output": config.output, **to_plain(done)}
    return Printed(text="\n".join(_report(done, config.output)), values=values)


def _report(done: Conversion, output: str) -> Iterator[str]:
    by = "as the source does" if done.divided == "source" else f"by val_fraction {done.val_fraction}, seed {done.seed}"
    yield f"{done.source}: {done.format} to {done.to}, divided {by}"
    yield "split   images  without objects  objects  ignored"
    for name, split in done.splits.items():
        yield f"{name:<6}{split.images:>8}{split.images_without_objects:>17}{split.objects:>9}{split.ignored:>9}"
    names = sorted(
        next(iter(done.splits.values())).classes,
        key=lambda name: -sum(split.classes[name] for split in done.splits.values()),
    )
    width = max(len("class"), *(len(name) for name in names[:_MOST_CLASSES]))
    yield f"{'class':{width}}" + "".join(f"{split:>9}" for split in done.splits)
    for name in names[:_MOST_CLASSES]:
        yield f"{name:{width}}" + "".join(f"{split.classes[name]:>9}" for split in done.splits.values())
    if len(names) > _MOST_CLASSES:
        yield f"{len(names) - _MOST_CLASSES} more classes"
    yield f"wrote {output}: {done.linked_images} images linked, {done.copied_images} copied"
    if done.to == "coco":
        yield f"next: ofa-det inspect {output}"
        yield f"      ofa-det build {output} --latency_cap_ms 80"


main = command(
    "convert",
    "Bring a data set in VOC, YOLO, CSV or another COCO layout into COCO layout, or COCO into YOLO.",
    ConvertConfig,
    run,
    paths={"SOURCE": "--source"},
)
