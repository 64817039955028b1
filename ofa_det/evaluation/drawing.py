"""What is drawn of detections: a picture of an image, pictures of several, or a video."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2

from ofa_det.arch.classes import Category
from ofa_det.data.frames import Frame, FrameSource
from ofa_det.detection.detections import Detections
from ofa_det.evaluation.pictures import draw_detections, write_picture

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}


class Writer(Protocol):
    """Draws detections as they come."""

    def __enter__(self) -> object: ...

    def __exit__(self, kind: object, *error: object) -> None: ...

    def add(self, frame: Frame, detections: Detections, categories: Sequence[Category], threshold: float) -> None:
        """Draws one image."""
        ...


class _NoPictures:
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *error: object) -> None:
        pass

    def add(self, frame: Frame, detections: Detections, categories: Sequence[Category], threshold: float) -> None:
        pass


class _Pictures(_NoPictures):
    """A file for each image: the output itself, or files in it."""

    def __init__(self, source: FrameSource, output: Path) -> None:
        self._targets: dict[str, deque[Path]] = {}
        taken: set[Path] = set()
        sources = {path.resolve() for path in source.paths}
        for path in source.paths:
            target = output if source.kind == "image" else _free(output / source.name(path), taken)
            if target.resolve() in sources:
                raise ValueError(f"expected an output apart from the images, found {target}; pass another --output")
            self._targets.setdefault(source.name(path), deque()).append(target)

    def add(self, frame: Frame, detections: Detections, categories: Sequence[Category], threshold: float) -> None:
        picture = draw_detections(frame.image, detections, categories, score_threshold=threshold)
        write_picture(self._targets[frame.name].popleft(), picture)


def _free(path: Path, taken: set[Path]) -> Path:
    """A .jpg that no other image has: `a.png` is `a.jpg`, or `a.png.jpg`, or `a.png.2.jpg`."""
    names = [path.with_suffix(".jpg"), path.with_name(f"{path.name}.jpg")]
    number = 2
    while names[0] in taken:
        names = names[1:] or [path.with_name(f"{path.name}.{number}.jpg")]
        number += 1
    taken.add(names[0])
    return names[0]


class _Video:
    """A video file that appears when it is whole."""

    def __init__(self, source: FrameSource, output: Path) -> None:
        self._rate = source.rate()
        self._output = output
        self._temporary = output.with_name(f".{output.stem}.tmp{output.suffix}")
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> None:
        self._output.parent.mkdir(parents=True, exist_ok=True)

    def __exit__(self, kind: object, *error: object) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if kind is None or kind is KeyboardInterrupt:
            self._temporary.replace(self._output)
        self._temporary.unlink(missing_ok=True)

    def add(self, frame: Frame, detections: Detections, categories: Sequence[Category], threshold: float) -> None:
        height, width = frame.image.shape[:2]
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*_CODECS[self._output.suffix])
            self._writer = cv2.VideoWriter(str(self._temporary), codec, self._rate, (width, height))
            if not self._writer.isOpened():
                raise ValueError(f"expected a folder to write the video to, found {self._output.parent}")
        picture = draw_detections(frame.image, detections, categories, score_threshold=threshold)
        self._writer.write(picture[..., ::-1])


def default_output(source: FrameSource) -> str:
    """Where what is drawn goes if nobody says."""
    return {"image": "runs/detections.jpg", "images": "runs/detections"}.get(source.kind, "runs/detections.mp4")


def open_writer(source: FrameSource, output: Path) -> Writer:
    """What draws into an output; nothing is drawn of a .json file.

    Raises:
        ValueError: an output that does not suit what is read, or is what is read.
    """
    if output.suffix == ".json":
        return _NoPictures()
    if source.kind == "image":
        if output.suffix not in PICTURE_SUFFIXES:
            raise ValueError(f"expected a picture ending in .jpg or .png, or a .json file, found {output}")
        return _Pictures(source, output)
    if source.kind == "images":
        if output.suffix in (*PICTURE_SUFFIXES, *_CODECS) or output.is_file():
            raise ValueError(f"expected a folder or a .json file for several images, found {output}")
        return _Pictures(source, output)
    if output.suffix not in _CODECS:
        raise ValueError(f"expected a video ending in .mp4 or .avi, or a .json file, found {output}")
    if source.paths and output.resolve() == source.paths[0].resolve():
        raise ValueError(f"expected an output apart from the video, found {output}; pass another --output")
    return _Video(source, output)
