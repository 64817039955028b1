"""The categories of a data set; labels are their positions, category ids may have gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, order=True)
class Category:
    """One object class.

    Args:
        id: the id in the annotation file.
        name: what it is called.
    """

    id: int
    name: str


def check_categories(found: Sequence[Category], expected: Sequence[Category], *, source: str, of: str) -> None:
    """Refuses to mix data of other object classes with a network.

    Args:
        found: categories of the data.
        expected: categories of the network or of its training data.
        source: where `found` stands.
        of: what `expected` belongs to.

    Raises:
        ValueError: they differ.
    """
    if tuple(found) != tuple(expected):
        other = next((pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]), None)
        detail = f"{other[0].id} {other[0].name!r} for {other[1].id} {other[1].name!r}" if other else f"{len(found)}"
        raise ValueError(
            f"expected the {len(expected)} categories of {of} in {source}, found {detail}; use the same categories"
        )
