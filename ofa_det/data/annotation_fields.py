"""Typed fields of an annotation file's entries, read one by one or as columns; what is no such field is named."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.artefacts.files import shown

NUMBER = (int, float)
_KINDS: Mapping[type | tuple[type, ...], str] = {
    int: "a whole number",
    NUMBER: "a number",
    str: "a text",
    list: "a list of four numbers",
}

_LARGEST_ID = 2**63 - 1


def section_entries(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects of a section, `images`, `annotations` or `categories`.

    Raises:
        ValueError: no list, or one of other things.
    """
    entries = content.get(key)
    if not isinstance(entries, list):
        raise ValueError(f"expected a list '{key}', found {shown(entries) if key in content else 'none'}")
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"expected objects in '{key}', found {shown(entry)} at position {position}")
    return entries


def field_of(entry: Mapping[str, Any], key: str, types: type | tuple[type, ...], section: str, position: int) -> Any:
    """A field of the entry at a position of a section.

    Raises:
        ValueError: none, or one of another type.
    """
    value = entry.get(key)
    # bool is an int to Python; in an annotation file it is a mistake.
    if not isinstance(value, types) or isinstance(value, bool):
        found = shown(value) if key in entry else "none"
        raise ValueError(f"expected '{key}' to be {_KINDS[types]} in {section}[{position}], found {found}")
    return value


def id_of(entry: Mapping[str, Any], section: str, position: int) -> int:
    """The `id` of the entry at a position of a section.

    Raises:
        ValueError: none, no whole number, or one beyond 64 bits.
    """
    value: int = field_of(entry, "id", int, section, position)
    if abs(value) > _LARGEST_ID:
        raise ValueError(f"expected 'id' of up to 64 bits in {section}[{position}], found {shown(value)}")
    return value


def column(
    entries: Sequence[Mapping[str, Any]], key: str, types: type | tuple[type, ...], section: str, default: Any = None
) -> list[Any]:
    """A field of every entry; COCO has 860,000 annotations, so types are looked at one by one only if one is wrong.

    Raises:
        ValueError: the first that is of another type, or missing without a default.
    """
    values = [entry.get(key, default) for entry in entries]
    if not set(map(type, values)) <= set(types if isinstance(types, tuple) else (types,)):
        for position, value in enumerate(values):
            field_of({key: value}, key, types, section, position)
    return values


def as_floats(values: Sequence[float], key: str, *, per_entry: int = 1) -> NDArray[np.float64]:
    """Numbers of the annotations, so many of each, as floats.

    Raises:
        ValueError: one that no float holds.
    """
    try:
        return np.array(values, np.float64)
    except OverflowError as error:
        position = next(at for at, value in enumerate(values) if abs(value) > sys.float_info.max) // per_entry
        raise ValueError(f"expected '{key}' of 64-bit numbers in annotations[{position}], found larger ones") from error
