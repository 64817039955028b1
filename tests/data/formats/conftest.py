from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa_det.data.problems import Problems

Picture = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def picture(root: Path) -> Picture:
    """Writes an image, 80 x 40 px unless said otherwise."""

    def write(name: str, size: tuple[int, int] = (80, 40)) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        return path

    return write


@pytest.fixture
def write(root: Path) -> Callable[[str, str | bytes], Path]:
    def to(name: str, content: str | bytes) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to


@pytest.fixture
def problems() -> Problems:
    return Problems("source")
