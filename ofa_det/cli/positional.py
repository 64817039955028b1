"""A command's main paths stand alone, without their options: `ofa-det inspect DATA`."""

from __future__ import annotations

import json
from collections.abc import Sequence


def with_options(words: Sequence[str], options: Sequence[str], *, several: bool = False) -> list[str]:
    """What was typed, with the options of the words before the first option written out.

    Args:
        words: what was typed.
        options: with their dashes; of as many words as there are.
        several: whether all of the words are together the value of the one option.
    """
    count = next((position for position, word in enumerate(words) if word.startswith("-")), len(words))
    paths, others = list(words[:count]), list(words[count:])
    if several and len(paths) > 1:
        paths = [json.dumps(paths)]
    named = [word for pair in zip(options, paths, strict=False) for word in pair]
    return [*others, *named, *paths[len(options) :]]
