"""Lets a command's main paths stand alone, without their options: `ofa-det inspect DATA`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from ofa_det.cli.command import Main


def with_path_first(main: Main, *options: str) -> Main:
    """The command whose first words, up to the first option, are the values of these.

    Args:
        main: the command.
        options: as typed, with their dashes; of as many words as there are.
    """

    def first(argv: Sequence[str] | None = None) -> int:
        # Behind the others, since a --config that came later would take its place.
        paths, others = _leading(argv)
        named = [word for pair in zip(options, paths, strict=False) for word in pair]
        return main([*others, *named, *paths[len(options) :]])

    return first


def with_paths_first(main: Main, option: str) -> Main:
    """The command whose first words, up to the first option, are together the value of this one.

    Args:
        main: the command.
        option: as typed, with its dashes; takes one path, or a list of them.
    """

    def first(argv: Sequence[str] | None = None) -> int:
        paths, others = _leading(argv)
        named = [option, paths[0] if len(paths) == 1 else json.dumps(paths)] if paths else []
        return main([*others, *named])

    return first


def _leading(argv: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The words before the first option, and the others."""
    words = list(sys.argv[1:] if argv is None else argv)
    count = next((position for position, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:count], words[count:]
