"""Which operators a file has, and whether the runtime of a competition knew them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP
from ofa_det.artefacts.tflite_content import builtin_name, read_tables
from ofa_det.submission.report import Check, check

COMPETITION_RELEASE: Final = "2.2"
"""TensorFlow Lite of the last round, spring of 2020."""

_MEND: Final = "export it with tools/export_det.py --format tflite-int8"


def parse_model(content: bytes, *, where: str) -> Any:
    """The flatbuffer of a `.tflite` file.

    Raises:
        ValueError: not a TFLite flatbuffer, or a broken one.
    """
    model = read_tables(content, where=where)
    if not model.subgraphs or not model.operatorCodes:
        raise ValueError(f"expected a TFLite model with operators in {where}, found none")
    return model


def operator_checks(model: Any, release: str) -> list[Check]:
    """The rules that operators have to keep.

    Args:
        model: of `parse_model`.
        release: of TensorFlow Lite, as 2.2.

    Raises:
        ValueError: a release that is no number.
    """
    limit = _number(release)
    custom = {_custom_name(code) for code in model.operatorCodes if builtin_name(code) == "CUSTOM"}
    flex = sorted(name for name in custom if name.startswith("Flex"))
    foreign = sorted(custom - set(flex) - {POSTPROCESS_OP})
    late = []
    for code in model.operatorCodes:
        name, version = builtin_name(code), max(1, code.version)
        if name == "CUSTOM":
            continue
        since = _since(name, version)
        if since is None or _number(since) > limit:
            late.append(f"{name} {version} ({f'known from {since} on' if since else 'unknown to it'})")
    return [
        check("TensorFlow operators", "no Flex ones", ", ".join(flex) or "none", not flex, mend=_MEND),
        check(
            "custom operators",
            f"{POSTPROCESS_OP} alone",
            ", ".join(foreign) or ", ".join(sorted(custom - set(flex))) or "none",
            not foreign and not flex,
            mend=_MEND,
        ),
        check(
            "builtin operators",
            f"versions that TensorFlow Lite {release} knows",
            ", ".join(late) or f"{len(model.operatorCodes) - len(custom)} that it knows",
            not late,
            mend=_MEND,
        ),
    ]


def suppression_op(model: Any) -> Any | None:
    """The post-processing operator of the main graph, if there is exactly one."""
    found = [
        op for op in model.subgraphs[0].operators if _custom_name(model.operatorCodes[op.opcodeIndex]) == POSTPROCESS_OP
    ]
    return found[0] if len(found) == 1 else None


def _custom_name(code: Any) -> str:
    return str(code.customCode.decode(errors="replace")) if code.customCode else ""


def _since(name: str, version: int) -> str | None:
    releases = _releases().get(name, ())
    return releases[version - 1] if version <= len(releases) else None


@cache
def _releases() -> Mapping[str, tuple[str, ...]]:
    """For each operator, the releases in which its versions appeared, the first first."""
    text = resources.files(__package__).joinpath("operator_versions.csv").read_text()
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["operator"]: tuple(row["releases"].split()) for row in rows}


def _number(release: str) -> tuple[int, int]:
    parts = release.split(".")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"expected a release of TensorFlow Lite as 2.2, found {release!r}")
    return int(parts[0]), int(parts[1])
