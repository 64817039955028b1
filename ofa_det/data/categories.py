"""The categories of a data set; labels are their positions, category ids may have gaps."""

from __future__ import annotations

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
