"""Checks a `.tflite` file against the interface of OVIC's on-device detection track.

The rules are those of `tensorflow/lite/java/ovic` in the TensorFlow repository: one uint8 image in; out come four
float32 tensors, in this order and of these shapes, with exactly 100 detections; category id = round(class + 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ofa_det.artefacts.manifest import MANIFEST_FILE, read_manifest

DETECTIONS = 100
MAX_SIDE_PX = 1000
OUTPUTS = (
    ("boxes", [1, DETECTIONS, 4]),
    ("classes", [1, DETECTIONS]),
    ("scores", [1, DETECTIONS]),
    ("count", [1]),
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule and what the file has.

    Args:
        name: of the rule.
        expected: what the rule asks for.
        found: what the file has.
        passed: whether that is the same.
    """

    name: str
    expected: str
    found: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """`validation.json`.

    Args:
        passed: whether the file keeps every rule.
        checks: in the order they were made; a file that cannot run is not checked further.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    passed: bool
    checks: tuple[Check, ...]

    def require(self, path: str | Path) -> None:
        """Refuses a file that breaks a rule.

        Raises:
            ValueError: naming every rule that is broken.
        """
        broken = [check for check in self.checks if not check.passed]
        if not broken:
            return
        found = "; ".join(f"{check.name}: expected {check.expected}, found {check.found}" for check in broken)
        mend = "export it with tools/export_det.py --format tflite-int8"
        if broken[0].name.startswith("shape of"):  # Their number is that of the detections.
            mend = f"train it, or the supernet it is from, with --postprocess.max_detections {DETECTIONS}"
        raise ValueError(f"expected {path} to keep OVIC's interface, found {found}; {mend}")


def validate_submission(path: str | Path) -> ValidationReport:
    """Checks interface and behaviour of a file, on one thread.

    Args:
        path: a `.tflite` file. A `manifest.json` beside it must not map classes in another way than id = class + 1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a TFLite file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a .tflite file, found nothing at {path}")
    try:
        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"expected a TFLite model in {path}, found: {error}") from error
    checks = [*_input_checks(interpreter.get_input_details()), *_output_checks(interpreter.get_output_details())]
    manifest = read_manifest(path)
    ids = None if manifest is None else manifest.class_category_ids
    checks.append(_class_check(ids))
    if all(check.passed for check in checks):
        checks += _run_checks(interpreter, ids)
    return ValidationReport(passed=all(check.passed for check in checks), checks=tuple(checks))


def _check(name: str, expected: Any, found: Any, passed: Callable[[Any], bool] | None = None) -> Check:
    return Check(
        name=name,
        expected=str(expected),
        found=str(found),
        passed=passed(found) if passed else bool(found == expected),
    )


def _input_checks(inputs: Sequence[dict[str, Any]]) -> list[Check]:
    first = inputs[0]
    return [
        _check("number of inputs", 1, len(inputs)),
        _check("input type", "uint8", np.dtype(first["dtype"]).name),
        _check(
            "input shape",
            f"[1, H, W, 3] with sides of 1 to {MAX_SIDE_PX} px",
            first["shape"].tolist(),
            lambda shape: (
                len(shape) == 4
                and shape[0] == 1
                and shape[3] == 3
                and all(1 <= side <= MAX_SIDE_PX for side in shape[1:3])
            ),
        ),
    ]


def _output_checks(outputs: Sequence[dict[str, Any]]) -> list[Check]:
    checks = [_check("number of outputs", len(OUTPUTS), len(outputs))]
    for (name, shape), output in zip(OUTPUTS, outputs, strict=False):
        checks.append(_check(f"type of {name}", "float32", np.dtype(output["dtype"]).name))
        checks.append(_check(f"shape of {name}", shape, output["shape"].tolist()))
    return checks


def _class_check(ids: Sequence[int | None] | None) -> Check:
    expected = "category id = class + 1 for every class"
    if ids is None:
        return Check(name="classes", expected=expected, found="no manifest says otherwise", passed=True)
    wrong = [f"class {index} is category {id_}" for index, id_ in enumerate(ids) if id_ not in (None, index + 1)]
    found = f"{wrong[0]} in {MANIFEST_FILE}; number the categories from 1" if wrong else "the same"
    return Check(name="classes", expected=expected, found=found, passed=not wrong)


def _run_checks(interpreter: Interpreter, category_ids: Sequence[int | None] | None) -> list[Check]:
    """Runs a random image: scores, classes and count must be such as OVIC's evaluation can read."""
    entry = interpreter.get_input_details()[0]
    image = np.random.default_rng(0).integers(0, 256, entry["shape"], dtype=np.uint8)
    interpreter.set_tensor(entry["index"], image)
    try:
        interpreter.invoke()
    except RuntimeError as error:
        return [Check(name="runs on one thread", expected="yes", found=str(error), passed=False)]
    boxes, classes, scores, count = (
        np.asarray(interpreter.get_tensor(output["index"]))[0] for output in interpreter.get_output_details()
    )
    rows = int(np.clip(count, 0, DETECTIONS))
    ids = np.rint(classes[:rows] + 1).astype(np.int64)
    return [
        Check(name="runs on one thread", expected="yes", found="yes", passed=True),
        _check("detections on a random image", f"0 to {DETECTIONS}", float(count), lambda n: 0 <= n <= DETECTIONS),
        _check("boxes", "finite", _span(boxes[:rows]), lambda _: bool(np.isfinite(boxes[:rows]).all())),
        _check(
            "scores",
            "0 to 1, descending",
            _span(scores[:rows]),
            lambda _: bool(((scores[:rows] >= 0) & (scores[:rows] <= 1)).all() and (np.diff(scores[:rows]) <= 0).all()),
        ),
        _ids_check(ids, category_ids),
    ]


def _ids_check(found: NDArray[np.int64], category_ids: Sequence[int | None] | None) -> Check:
    if category_ids is None:
        return _check("category ids", "at least 1", _span(found), lambda _: bool((found >= 1).all()))
    known = [id_ for id_ in category_ids if id_ is not None]
    unknown = sorted(set(found.tolist()) - set(known))
    return _check("category ids", "those of the manifest", f"also {unknown}" if unknown else "those of the manifest")


def _span(values: NDArray[Any]) -> str:
    return f"{values.min():.6g} to {values.max():.6g}" if values.size else "none"
