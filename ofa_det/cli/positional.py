"""Lets a command's main path stand alone, without its option: `ofa-det inspect DATA`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ofa_det.cli.command import Main


def with_path_first(main: Main, option: str) -> Main:
    """The command whose first word, if it is no option, is the value of this one.

    Args:
        main: the command.
        option: as typed, with its dashes.
    """

    def first(argv: Sequence[str] | None = None) -> int:
        words = list(sys.argv[1:] if argv is None else argv)
        # Behind the others, since a --config that came later would take its place.
        return main([*words[1:], option, words[0]] if words and not words[0].startswith("-") else words)

    return first
