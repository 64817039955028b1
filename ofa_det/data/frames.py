"""Images to run a detector on: files, folders, patterns, the frames of a video or of a webcam."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ofa_det.data.images import IMAGE_SUFFIXES, read_image

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})

_UNSTATED_RATE = 25.0
"""Frames a second of a webcam that does not say."""

_QUIET_LOG_LEVEL = 0
"""Of OpenCV: a source that cannot be opened is told once, by the exception."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image.

    Args:
        name: of its file, relative to the folder that was named; of a video the number of the frame, from 0.
        image: (H, W, 3) RGB.
        seconds: since the start of a video; None of a file.
    """

    name: str
    image: NDArray[np.uint8]
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class FrameSource:
    """Where images come from.

    Args:
        kind: one image, several, a video file, or a webcam.
        paths: image files, in order, or the video file; empty of a webcam.
        camera: number of the webcam.
        root: folder that names are relative to.
    """

    kind: Literal["image", "images", "video", "camera"]
    paths: tuple[Path, ...] = ()
    camera: int = 0
    root: Path | None = None

    def __len__(self) -> int:
        """Images known beforehand; 0 of a video or webcam."""
        return len(self.paths) if self.kind in ("image", "images") else 0

    def name(self, path: Path) -> str:
        """What an image file is called."""
        return path.name if self.root is None else path.relative_to(self.root).as_posix()

    def frames(self, limit: int | None = None) -> Iterator[Frame]:
        """Yields the images, in order; of several files one that cannot be read is left out with a warning.

        Raises:
            FileNotFoundError: the file is gone.
            ValueError: not an image or video that can be read, or no such webcam.
        """
        return islice(self._all_frames(), limit)

    def rate(self) -> float:
        """Frames a second, as the video or webcam states it."""
        with closing(_Capture(self._capture_source())) as capture:
            return capture.rate

    def _all_frames(self) -> Iterator[Frame]:
        if self.kind == "image":
            (path,) = self.paths
            yield Frame(name=self.name(path), image=read_image(path))
        elif self.kind == "images":
            for path in self.paths:
                try:
                    yield Frame(name=self.name(path), image=read_image(path))
                except (FileNotFoundError, ValueError) as error:
                    logger.warning("%s; it is left out", error)
        else:
            with closing(_Capture(self._capture_source())) as capture:
                yield from capture.frames()

    def _capture_source(self) -> Path | int:
        return self.camera if self.kind == "camera" else self.paths[0]


def open_frames(sources: Sequence[str]) -> FrameSource:
    """Finds out what is meant by what a user typed.

    Args:
        sources: an image or video file, a folder of images (with those in it), a pattern such as `pictures/*.jpg`, the
            number of a webcam; or several image files.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder or pattern without images, or several sources that are not all image files.
    """
    if len(sources) != 1:
        return _several(sources)
    (source,) = sources
    path = Path(source)
    if source.isdecimal() and not path.exists():
        return FrameSource(kind="camera", camera=int(source))
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        if not files:
            raise ValueError(f"expected images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {path}, found none")
        return FrameSource(kind="images", paths=tuple(files), root=path)
    if not path.exists() and glob.has_magic(source):
        files = sorted(map(Path, glob.glob(source, recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute one.
        files = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
        if not files:
            raise FileNotFoundError(f"expected images that {source} matches, found none")
        return FrameSource(kind="images", paths=tuple(files))
    if not path.is_file():
        raise FileNotFoundError(
            f"expected an image, a folder, a pattern, a video or the number of a webcam, found nothing at {path}"
        )
    return FrameSource(kind="video" if path.suffix.lower() in VIDEO_SUFFIXES else "image", paths=(path,))


def _several(sources: Sequence[str]) -> FrameSource:
    paths = tuple(map(Path, sources))
    if not paths:
        raise ValueError("expected an image, a folder, a pattern, a video or the number of a webcam, found nothing")
    for path in paths:
        if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES:
            raise ValueError(f"expected image files where there are several, found {path}; name it alone")
        if not path.is_file():
            raise FileNotFoundError(f"expected an image, found nothing at {path}")
    return FrameSource(kind="images", paths=paths)


class _Capture:
    """An open video file or webcam."""

    def __init__(self, source: Path | int) -> None:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(_QUIET_LOG_LEVEL)
        try:
            self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        finally:
            cv2.utils.logging.setLogLevel(level)
        self._source = source
        if not self._capture.isOpened():
            expected = f"webcam {source}" if isinstance(source, int) else "a video that can be decoded"
            raise ValueError(f"expected {expected}, found none" + ("" if isinstance(source, int) else f" in {source}"))

    @property
    def rate(self) -> float:
        """Frames a second."""
        stated = self._capture.get(cv2.CAP_PROP_FPS)
        return stated if 0 < stated < 1000 else _UNSTATED_RATE

    def frames(self) -> Iterator[Frame]:
        """Until the video ends; a webcam's do not."""
        number = 0
        while True:
            there, image = self._capture.read()
            if not there:
                break
            yield Frame(name=str(number), image=np.array(image[..., ::-1], np.uint8), seconds=number / self.rate)
            number += 1
        if number == 0:
            raise ValueError(f"expected a video with frames, found none in {self._source}")

    def close(self) -> None:
        """Lets go of the file or webcam."""
        self._capture.release()
