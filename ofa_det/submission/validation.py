"""Checks a `.tflite` file against the interface of OVIC's on-device detection track.

The rules are those of `tensorflow/lite/java/ovic` in the TensorFlow repository: one uint8 image in; out come four
float32 tensors, in this order and of these shapes, with exactly 100 detections; category id = round(class + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ofa_det.arch.classes import Category
from ofa_det.artefacts.manifest import MANIFEST_FILE, read_manifest
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP, read_attributes
from ofa_det.artefacts.tflite_content import open_interpreter
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.tflite import input_values
from ofa_det.submission.behaviour import behaviour_checks, random_image, run_images
from ofa_det.submission.operators import COMPETITION_RELEASE, operator_checks, parse_model, suppression_op
from ofa_det.submission.report import Check, ValidationReport, check

DETECTIONS: Final = 100
MAX_SIDE_PX: Final = 1000
OUTPUTS: Final = (
    ("boxes", [1, DETECTIONS, 4]),
    ("classes", [1, DETECTIONS]),
    ("scores", [1, DETECTIONS]),
    ("count", [1]),
)
_EXPORT: Final = "export it with tools/export_det.py --format tflite-int8"
_HUNDRED: Final = f"export it with --ending.max_detections {DETECTIONS}"


@dataclass(frozen=True, kw_only=True)
class ValidateSubmissionConfig:
    """What is to be validated.

    Args:
        model: any .tflite file.
        data: a data set in COCO layout, on whose first validation images the file is run too, and whose categories the
            file's classes must be able to name; by default a random image alone.
        images: of the data set.
        release: of TensorFlow Lite, whose operators the file may have.
    """

    model: str
    data: DataConfig | None = None
    images: int = 8
    release: str = COMPETITION_RELEASE

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"expected images >= 1, found {self.images}")


def validate(config: ValidateSubmissionConfig) -> ValidationReport:
    """`validate_submission` of a configuration.

    Raises:
        FileNotFoundError: no such file or data.
        ValueError: not a TFLite file.
    """
    dataset = None if config.data is None else open_split(config.data, "val")
    return validate_submission(config.model, dataset, images=config.images, release=config.release)


def validate_submission(
    path: str | Path, dataset: CocoDataset | None = None, *, images: int = 8, release: str = COMPETITION_RELEASE
) -> ValidationReport:
    """Checks interface, operators and behaviour of a file, on one thread.

    Args:
        path: a `.tflite` file. A `manifest.json` beside it must not map classes in another way than id = class + 1.
        dataset: whose first images the file is run on, beside a random one, and whose categories it must be able to
            name.
        images: how many.
        release: of TensorFlow Lite, whose operators the file may have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a TFLite file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a .tflite file, found nothing at {path}")
    content = path.read_bytes()
    model = parse_model(content, where=str(path))
    manifest = read_manifest(path)
    ids = None if manifest is None else manifest.class_category_ids
    columns = _columns(model)
    categories = () if dataset is None else dataset.categories
    checks = operator_checks(model, release)
    try:
        interpreter = open_interpreter(content, where=str(path))
    except ValueError as error:
        checks.append(check("runs on one thread", "yes", f"no: {error}", mend=_EXPORT))
        return ValidationReport(passed=False, checks=tuple(checks))
    checks += _input_checks(interpreter.get_input_details())
    checks += _output_checks(interpreter.get_output_details())
    checks += [_order_check(model), *_class_checks(ids, columns, categories)]
    shown = 0
    if len(interpreter.get_input_details()) == 1:
        run, shown = _run_checks(interpreter, columns, ids, dataset, images)
        checks += run
    return ValidationReport(passed=all(entry.passed for entry in checks), checks=tuple(checks), images=shown)


def _input_checks(inputs: Sequence[dict[str, Any]]) -> list[Check]:
    checks = [check("number of inputs", 1, len(inputs))]
    if inputs:
        checks += [
            check("input type", "uint8", np.dtype(inputs[0]["dtype"]).name, mend=_EXPORT),
            check(
                "input shape",
                f"[1, H, W, 3] with sides of 1 to {MAX_SIDE_PX} px",
                inputs[0]["shape"].tolist(),
                lambda shape: (
                    len(shape) == 4
                    and shape[0] == 1
                    and shape[3] == 3
                    and all(1 <= side <= MAX_SIDE_PX for side in shape[1:3])
                ),
                mend=_EXPORT,
            ),
        ]
    return checks


def _output_checks(outputs: Sequence[dict[str, Any]]) -> list[Check]:
    checks = [check("number of outputs", len(OUTPUTS), len(outputs), mend=_EXPORT)]
    for (name, shape), output in zip(OUTPUTS, outputs, strict=False):
        checks.append(check(f"type of {name}", "float32", np.dtype(output["dtype"]).name, mend=_EXPORT))
        checks.append(check(f"shape of {name}", shape, output["shape"].tolist(), mend=_HUNDRED))
    return checks


def _order_check(model: Any) -> Check:
    """Whether the graph gives the operator's outputs as it makes them; shapes cannot tell classes from scores."""
    op, expected = suppression_op(model), f"those of {POSTPROCESS_OP}, as it gives them"
    if op is None:
        return check("order of outputs", expected, "no such operator", passed=False, mend=_EXPORT)
    made, given = list(map(int, op.outputs)), list(map(int, model.subgraphs[0].outputs))
    found = "the same" if made == given else f"its outputs {[made.index(x) if x in made else None for x in given]}"
    return check("order of outputs", expected, found, made == given, mend=_EXPORT)


def _columns(model: Any) -> int | None:
    """Classes that the post-processing operator tells apart; None without one."""
    op = suppression_op(model)
    if op is None or op.customOptions is None:
        return None
    try:
        return int(read_attributes(op)["num_classes"])
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _class_checks(ids: Sequence[int | None] | None, columns: int | None, categories: Sequence[Category]) -> list[Check]:
    expected = "category id = class + 1 for every class"
    compact = "export it with --classes competition, and number the categories from 1"
    wrong = [f"class {index} is category {id_}" for index, id_ in enumerate(ids or ()) if id_ not in (None, index + 1)]
    kept = "no manifest says otherwise" if ids is None else "the same"
    found = f"{wrong[0]} in {MANIFEST_FILE}" if wrong else kept
    checks = [check("classes", expected, found, not wrong, mend=compact)]
    if categories:
        highest = max(category.id for category in categories)
        needed = f"a column for each category of the data, {highest} at least"
        checks.append(check("class columns", needed, columns, columns is not None and columns >= highest, mend=compact))
    return checks


def _run_checks(
    interpreter: Interpreter,
    columns: int | None,
    ids: Sequence[int | None] | None,
    dataset: CocoDataset | None,
    images: int,
) -> tuple[list[Check], int]:
    """The file at work, and how many images of the data set it saw; of an input of another type too."""
    (entry,) = interpreter.get_input_details()
    shape = entry["shape"].tolist()
    if len(shape) != 4 or shape[3] != 3:
        return [], 0
    shown = [random_image(shape)[0]]
    if dataset is not None:
        batches = image_batches(dataset, size=(shape[1], shape[2]), batch_size=1, limit=images)
        shown += [image for batch in batches for image in batch]
    values = [input_values(image, entry["dtype"]) for image in shown]
    try:
        outputs = run_images(interpreter, values)
        (repeated,) = run_images(interpreter, values[:1])
    except ValueError as error:
        return [check("runs on one thread", "yes", f"no: {error}", mend=_EXPORT)], 0
    checks = [check("runs on one thread", "yes", "yes")]
    most, classes = DETECTIONS, columns if columns is not None else len(ids or ()) or 1
    checks += behaviour_checks(outputs, repeated, most=most, num_classes=classes)
    if ids is not None:
        known = {index for index, id_ in enumerate(ids) if id_ is not None}
        found = {int(value) for output in outputs for value in np.rint(output.classes)}
        unknown = sorted(value + 1 for value in found - known)
        said = f"also {unknown}" if unknown else "those of the manifest"
        checks.append(check("category ids", "those of the manifest", said))
    return checks, len(shown) - 1
