"""The Python snippet of docs/android.md, as a reader would run it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa_det.export.metadata import DETECTION_SIGNATURE, FileMetadata, with_metadata

PAGE = Path(__file__).parents[1] / "docs/android.md"


def snippet(after: str) -> str:
    """The first Python block behind a heading."""
    return re.search(r"```python\n(.*?)```", PAGE.read_text().split(f"## {after}")[1], re.DOTALL)[1]


@pytest.fixture
def described(write_detector):
    """A file that finds a goose (2) in the middle and less surely a duck (0) at the left."""
    path = write_detector([[0.5, 0.5, 0.5, 0.25], [0.25, 0.5, 0.25, 0.5]], [[0.0, 0.0, 0.875], [0.5, 0.0, 0.0]])
    metadata = FileMetadata(
        name="birds",
        description="",
        labels="duck\n???\ngoose\n",
        kind="detections",
        signature_outputs=DETECTION_SIGNATURE,
        quantized_input=True,
    )
    path.write_bytes(with_metadata(path.read_bytes(), metadata))
    return path


def test_the_python_snippet_prints_what_is_seen(described, tmp_path):
    Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save(tmp_path / "picture.png")
    (tmp_path / "detect.py").write_text(snippet("Python (LiteRT)"))
    done = subprocess.run(
        [sys.executable, "detect.py", described, "picture.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["goose 0.88 at [20, 15, 60, 25]", "duck 0.50 at [10, 10, 30, 30]"]


def test_the_page_names_the_signature_that_files_have():
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in ("images", *DETECTION_SIGNATURE))
