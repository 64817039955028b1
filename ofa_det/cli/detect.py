"""Detects objects in images, videos and what a webcam sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ofa_det.cli.command import Printed, command
from ofa_det.evaluation.detect import DetectConfig, DetectResult, ImageDetections, detect, detections_content


def run(config: DetectConfig) -> Printed:
    """Detects; gives a line for each object of one image, or for each of several images."""
    result = detect(config)
    return Printed(
        text="\n".join(_lines(result)),
        values={"output": str(result.output), "images": [detections_content(image) for image in result.images]},
    )


def _lines(result: DetectResult) -> Iterator[str]:
    objects = sum(len(image.objects) for image in result.images)
    done = "written to" if result.output.suffix == ".json" else "drawn in"
    if len(result.images) == 1:
        yield from _objects(result.images[0])
        yield f"{objects} detections, {done} {result.output}"
        return
    if result.images[0].seconds is None:
        for image in result.images:
            counts = Counter(found.category for found in image.objects)
            named = ", ".join(f"{count} {name}" for name, count in counts.most_common())
            yield f"{image.image}: {named or 'nothing'}"
    yield f"{objects} detections on {len(result.images)} images, {done} {result.output}"


def _objects(image: ImageDetections) -> Iterator[str]:
    yield "score  x1, y1, x2, y2 in px          class"
    for found in image.objects:
        x, y, width, height = found.bbox
        corners = "".join(f"{value:7.0f}" for value in (x, y, x + width, y + height))
        yield f"{found.score:5.2f} {corners}   {found.category}"


main = command(
    "detect",
    "Detect objects in images, videos and what a webcam sees.",
    DetectConfig,
    run,
    paths={"PICTURES": "--image"},
    several=True,
)
