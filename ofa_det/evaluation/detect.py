"""Detection on images, folders, videos and webcams, as pictures, a video or JSON."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ofa_det.arch.description import PostProcessChange
from ofa_det.artefacts.files import write_json
from ofa_det.data.frames import Frame, open_frames
from ofa_det.data.images import stretch
from ofa_det.detection.detections import Detections, Predictor
from ofa_det.evaluation.drawing import default_output, open_writer
from ofa_det.evaluation.predictors import check_parallel, model_categories, open_predictor
from ofa_det.evaluation.scoring import coco_results
from ofa_det.evaluation.side_by_side import SideBySide


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """Detection on images.

    Args:
        model: run folder, .onnx file, or any .tflite detector that ends in TFLite_Detection_PostProcess.
        image: image or video file, folder of images, pattern such as "pictures/*.jpg", or number of a webcam, which
            Ctrl-C ends; or a list of image files.
        output: a .json file; else a picture (.jpg, .png) of one image, a folder of pictures of several, a video (.mp4,
            .avi) of a video or webcam. By default runs/detections.jpg, runs/detections or runs/detections.mp4.
        score_threshold: weaker detections are left out, 0 to 1.
        labels: text file with the name of class i on line i; by default labels.txt beside the model, if there is one.
        limit: images or frames at most; by default all.
        accelerator: torch device for a run folder's network, for example cpu or cuda.
        nms: post-processing settings instead of the model's own.
        workers: images that a file is run on side by side, with the same detections; 0 for the cores there are.
        threads: of a file's runtime, for one image.
    """

    model: str
    image: tuple[str, ...] | str
    output: str | None = None
    score_threshold: float = 0.3
    labels: str | None = None
    limit: int | None = None
    accelerator: str = "cpu"
    nms: PostProcessChange = field(default_factory=PostProcessChange)
    workers: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"expected score_threshold in [0, 1], found {self.score_threshold}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"expected limit >= 1, found {self.limit}")
        check_parallel(self.workers, self.threads)


@dataclass(frozen=True, kw_only=True)
class DetectedObject:
    """One object; the box is x, y, width and height in pixels of the image."""

    category_id: int
    category: str
    score: float
    bbox: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class ImageDetections:
    """What was found on one image, by descending score.

    Args:
        image: name of the file; of a video the number of the frame, from 0.
        width, height: in pixels.
        objects: that reach the score threshold.
        seconds: since the start of a video; None of a file.
    """

    image: str
    width: int
    height: int
    objects: tuple[DetectedObject, ...]
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class DetectResult:
    """All images, and where what was drawn or written of them is."""

    images: tuple[ImageDetections, ...]
    output: Path


def detect(config: DetectConfig, *, progress: bool = True) -> DetectResult:
    """Detects objects and writes pictures, a video or JSON.

    Args:
        config: on what, by what, to where.
        progress: show a progress bar where there is more than one image.

    Raises:
        FileNotFoundError: no such model, image or list of labels.
        ValueError: not a detector or image that can be read, or an output that does not suit what is read.
    """
    source = open_frames([config.image] if isinstance(config.image, str) else list(config.image))
    output = Path(config.output or default_output(source))
    writer = open_writer(source, output)
    predictor = open_predictor(
        config.model,
        accelerator=config.accelerator,
        postprocess=config.nms,
        threads=config.threads,
        workers=1 if source.kind == "image" else config.workers,
    )
    categories = model_categories(config.model, labels=config.labels)
    names = {category.id: category.name for category in categories}
    found = []
    bar = tqdm(
        _detected(predictor, source.frames(config.limit)),
        total=min(len(source), config.limit or len(source)) or config.limit,
        desc="detect",
        unit="image",
        disable=not progress or source.kind == "image",
    )
    # A webcam's images end when the user says so.
    with writer, suppress(*([KeyboardInterrupt] if source.kind == "camera" else [])):
        for frame, detections in bar:
            found.append(_named(frame, detections, names, config.score_threshold))
            writer.add(frame, detections, categories, config.score_threshold)
    if not found:
        raise ValueError(f"expected an image that can be read, found none in {config.image}")
    result = DetectResult(images=tuple(found), output=output)
    if output.suffix == ".json":
        write_json(output, {"images": [detections_content(image) for image in result.images]})
    return result


def detections_content(image: ImageDetections) -> dict[str, Any]:
    """The detections of an image as JSON types; boxes in pixels as x, y, width, height."""
    objects = [{**vars(found), "bbox": list(found.bbox)} for found in image.objects]
    seconds = {} if image.seconds is None else {"seconds": image.seconds}
    return {"image": image.image, **seconds, "width": image.width, "height": image.height, "objects": objects}


def _detected(predictor: Predictor, frames: Iterator[Frame]) -> Iterator[tuple[Frame, Detections]]:
    """Every image with its detections."""
    waiting: deque[Frame] = deque()

    def batches() -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            waiting.append(frame)
            yield stretch(frame.image, predictor.input_size)[None]

    if isinstance(predictor, SideBySide):
        results = predictor.predict_all(batches())
    else:
        results = (detections for images in batches() for detections in predictor.predict(images))
    for detections in results:
        yield waiting.popleft(), detections


def _named(frame: Frame, detections: Detections, names: dict[int, str], score_threshold: float) -> ImageDetections:
    height, width = frame.image.shape[:2]
    objects = [
        DetectedObject(
            category_id=entry["category_id"],
            category=names.get(entry["category_id"], str(entry["category_id"])),
            score=entry["score"],
            bbox=tuple(entry["bbox"]),
        )
        for entry, shown in zip(
            coco_results(detections, 0, (height, width)), detections.scores >= score_threshold, strict=True
        )
        if shown
    ]
    return ImageDetections(image=frame.name, width=width, height=height, objects=tuple(objects), seconds=frame.seconds)
