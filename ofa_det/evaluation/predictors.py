"""Opens a detector of any kind from its path."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ofa_det.arch.classes import Category
from ofa_det.arch.description import PostProcessChange
from ofa_det.artefacts.files import read_lines
from ofa_det.artefacts.manifest import LABELS_FILE, MANIFEST_FILE, read_manifest
from ofa_det.artefacts.model_file import read_description
from ofa_det.detection.detections import Predictor
from ofa_det.evaluation.side_by_side import SideBySide, usable_cores
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.run_folder import load_detector


def open_predictor(
    path: str | os.PathLike[str],
    *,
    accelerator: str = "cpu",
    postprocess: PostProcessChange | None = None,
    threads: int = 1,
    workers: int = 1,
) -> Predictor:
    """Opens a run folder, an `.onnx` or a `.tflite` file; of our export in any format.

    Args:
        path: of the detector.
        accelerator: torch device that a run folder's network runs on; the others run on the CPU.
        postprocess: settings that replace the model's own.
        threads: of a file's runtime, for one image.
        workers: images that a file is run on side by side; 0 for the cores that this process may use. The detections
            are those of one.

    Raises:
        FileNotFoundError: nothing at that path, or a folder without a model.
        ValueError: not a detector that can be run, or a number out of its range.
    """
    path = Path(path)
    check_parallel(workers, threads)
    if not path.exists():
        raise FileNotFoundError(f"expected a run folder, .onnx or .tflite file, found nothing at {path}")
    change = postprocess or PostProcessChange()
    if path.is_dir():
        trained = load_detector(path)
        description = replace(trained.description, postprocess=change.applied(trained.description.postprocess))
        return TorchDetector(trained.network, description, checked_accelerator(accelerator))
    first = _open_file(path, change, threads)
    count = workers or usable_cores()
    if count == 1:
        return first
    return SideBySide([first, *(_open_file(path, change, threads) for _ in range(count - 1))])


def check_parallel(workers: int, threads: int) -> None:
    """Refuses numbers of workers and of threads that there cannot be.

    Raises:
        ValueError: naming both.
    """
    if workers < 0 or threads < 1:
        raise ValueError(f"expected workers >= 0 and threads >= 1, found {workers} and {threads}")


def _open_file(path: Path, postprocess: PostProcessChange, threads: int) -> Predictor:
    # Imported where they are needed: a machine that trains need not have every runtime.
    if path.suffix == ".onnx":
        from ofa_det.evaluation.onnx import OnnxDetector

        return OnnxDetector(path, num_threads=threads, postprocess=postprocess)
    if path.suffix == ".tflite":
        from ofa_det.evaluation.tflite import TfliteDetector
        from ofa_det.evaluation.tflite_raw import RawTfliteDetector, gives_raw_outputs

        manifest = read_manifest(path)
        if manifest is not None and gives_raw_outputs(manifest):
            return RawTfliteDetector(path, manifest, num_threads=threads, postprocess=postprocess)
        return TfliteDetector(path, num_threads=threads, postprocess=postprocess)
    raise ValueError(f"expected a run folder, .onnx or .tflite file, found {path}")


def model_categories(
    path: str | os.PathLike[str], *, labels: str | os.PathLike[str] | None = None
) -> tuple[Category, ...]:
    """The names of what a detector finds.

    A run folder knows its categories. For a file they come from a list of labels: line i names class i, whose category
    id stands in the manifest beside the model or is i + 1; `???` marks a class that is not used.

    Args:
        path: the detector.
        labels: list of labels; by default `labels.txt` beside the model, if there is one.

    Returns:
        The categories that have a name; empty where nothing tells.

    Raises:
        FileNotFoundError: the list of labels is missing.
        ValueError: the list and the manifest speak of different numbers of classes.
    """
    path = Path(path)
    if labels is None and path.is_dir():
        return read_description(path).categories
    file = Path(labels) if labels is not None else path.with_name(LABELS_FILE)
    if labels is None and not file.is_file():
        return ()
    if not file.is_file():
        raise FileNotFoundError(f"expected a list of labels, found nothing at {file}")
    names = read_lines(file)
    manifest = read_manifest(path)
    ids = tuple(range(1, len(names) + 1)) if manifest is None else manifest.class_category_ids
    if len(ids) != len(names):
        raise ValueError(f"expected {len(ids)} labels in {file}, as {MANIFEST_FILE} lists, found {len(names)}")
    return tuple(
        Category(id=category_id, name=name)
        for category_id, name in zip(ids, names, strict=True)
        if category_id is not None and name.strip("?")
    )
