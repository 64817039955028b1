"""Folders of a build and its `build.json`: what the report of a build is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ofa_det.artefacts.evaluations import subnet_file
from ofa_det.artefacts.files import read_json
from ofa_det.artefacts.records import parse_record

BUILD_FILE = "build.json"
PLAN_FILE = "plan.json"
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class BuildFolder:
    """Where a build keeps what its stages write.

    Args:
        root: the build's output folder.
    """

    root: Path

    @property
    def inspection(self) -> Path:
        """Folder of the inspection of the data."""
        return self.root / "inspection"

    @property
    def configs(self) -> Path:
        """Folder of the configuration of every stage."""
        return self.root / "configs"

    @property
    def supernet(self) -> Path:
        """Run folder of the supernet."""
        return self.root / "supernet"

    @property
    def labels(self) -> Path:
        """Folder of what a larger detector says of the training images."""
        return self.root / "labels"

    @property
    def submissions(self) -> Path:
        """Folder of the packages."""
        return self.root / "submissions"

    @property
    def search(self) -> Path:
        """Folder of the search."""
        return self.root / "search"

    def subnet(self, cap_ms: float, num_caps: int) -> Path:
        """The subnet that the search found under one of its caps."""
        return self.search / subnet_file(cap_ms, num_caps)

    def detector(self, cap_ms: float) -> Path:
        """Run folder of the detector that was trained for a cap."""
        return self.root / f"detector_{cap_name(cap_ms)}"

    def export(self, cap_ms: float) -> Path:
        """Folder of the file."""
        return self.root / f"export_{cap_name(cap_ms)}"

    def model(self, cap_ms: float) -> Path:
        """The file."""
        return self.export(cap_ms) / "model.tflite"

    def evaluation(self, cap_ms: float, of: str) -> Path:
        """Folder of the evaluation of the `float` detector or of the `int8` file."""
        return self.root / f"evaluation_{cap_name(cap_ms)}_{of}"

    def relative(self, path: Path) -> str:
        """A path below the build's folder, as the page links to it."""
        return path.relative_to(self.root).as_posix()


def cap_name(cap_ms: float) -> str:
    """A cap in names of files: `40ms`, `37.5ms`."""
    return f"{cap_ms:g}ms"


@dataclass(frozen=True, kw_only=True)
class StageEntry:
    """A finished stage.

    Args:
        name: of it and of its configuration.
        command: that repeats it, as in `commands.txt`.
        seconds: it took; where it was interrupted, its last part.
        warnings: that it gave, in the words of the log.
    """

    name: str
    command: str
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuiltDetector:
    """One file and its figures.

    Args:
        latency_cap_ms: it was made for.
        float_ap, int8_ap: on the validation images, as fractions.
        latency_ms, latency_error_ms: predicted for the file.
        at_most_ms: the bound that was compared with the cap.
        runtime: that the latency is of.
        host_ms: median measured on the machine of the build, one thread, whole file.
        bytes: size of the file.
        model: the file, relative to the build's folder.
        submission: folder of the package, relative to the build's folder.
        trained_for_ms: cap whose training it comes from, since both have one network; None for its own.
    """

    latency_cap_ms: float
    float_ap: float
    int8_ap: float
    latency_ms: float
    latency_error_ms: float
    at_most_ms: float
    runtime: str
    host_ms: float
    bytes: int
    model: str
    submission: str
    trained_for_ms: float | None = None

    @property
    def training_cap_ms(self) -> float:
        """Cap that the training's folder is named by."""
        return self.latency_cap_ms if self.trained_for_ms is None else self.trained_for_ms


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """`build.json`.

    Args:
        machine: that it ran on.
        data_root: of the data set.
        safety: standard errors by which every file stays below its cap.
        elastic: whether a supernet was trained and searched.
        notes: what was chosen and why, in words.
        stages: in their order.
        detectors: by ascending cap.
        seconds: of all stages.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    machine: str
    data_root: str
    safety: float
    elastic: bool
    notes: tuple[str, ...]
    stages: tuple[StageEntry, ...]
    detectors: tuple[BuiltDetector, ...]
    seconds: float


def read_build(root: Path) -> BuildRecord:
    """Reads the `build.json` of a build's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not such a record.
    """
    path = root / BUILD_FILE
    if not path.is_file():
        raise FileNotFoundError(f"expected {BUILD_FILE} in {root}, found none; was its build finished?")
    return parse_record(read_json(path), BuildRecord, where=str(path))
