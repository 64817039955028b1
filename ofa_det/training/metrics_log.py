"""Figures of a training, to `metrics.jsonl` and TensorBoard."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType

import numpy as np
from numpy.typing import NDArray

from ofa_det.artefacts.files import write_atomically

# TensorBoard loads TensorFlow, where it is installed, unless it finds this module; its own writer does all we need.
sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
from torch.utils.tensorboard import SummaryWriter  # noqa: E402

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends records; a resumed run first drops those of the steps that it repeats.

    Args:
        run_folder: of the training.
        first_step: the next step that will be logged.
        images: drawn before that step.
        active: whether it writes anything; of several ranks one does.
    """

    def __init__(self, run_folder: str | Path, first_step: int, images: int, *, active: bool = True) -> None:
        self._active = active
        self._path = Path(run_folder) / METRICS_FILE
        if not active:
            return
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = [line for line in lines if _step(line) < first_step]
        write_atomically(self._path, "".join(f"{line}\n" for line in kept))
        self._writer = SummaryWriter(str(run_folder), purge_step=images + 1)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._active:
            self._writer.close()

    def write(self, step: int, images: int, values: Mapping[str, float]) -> None:
        """Logs figures after a step.

        Args:
            step: from 0.
            images: drawn so far.
            values: names to figures.
        """
        if not self._active:
            return
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "images": images, **values}) + "\n")
        for name, value in values.items():
            self._writer.add_scalar(name, value, images)

    def write_picture(self, images: int, picture: NDArray[np.uint8]) -> None:
        """Shows a picture (H, W, 3) in TensorBoard."""
        if self._active:
            self._writer.add_image("detections", picture, images, dataformats="HWC")


def _step(line: str) -> float:
    """Step of a record; a line torn by a crash belongs to no kept step."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")
