"""Lets an option of several values be given several times: `--latency_cap_ms 40 --latency_cap_ms 80`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ofa_det.cli.command import Main


def with_repeated(main: Main, option: str) -> Main:
    """The command whose option takes its values one by one, or as a list `[40, 80]`, as YAML has it.

    Args:
        main: the command.
        option: as typed, with its dashes.
    """

    def gathered(argv: Sequence[str] | None = None) -> int:
        words = list(sys.argv[1:] if argv is None else argv)
        values, others = [], []
        while words:
            word = words.pop(0)
            if word.startswith(f"{option}="):
                values.append(word.removeprefix(f"{option}="))
            elif word == option and words:
                values.append(words.pop(0))
            else:
                others.append(word)
        if not values:
            return main(others)
        listed = ",".join(value.strip().removeprefix("[").removesuffix("]") for value in values)
        return main([*others, f"{option}=[{listed}]"])

    return gathered
