"""Mistakes in options, in words: what was expected, what was found, what may have been meant."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_WORDS: Mapping[Any, str] = {int: "a whole number", float: "a number", str: "text", type(None): "null"}
_MANY: Mapping[Any, str] = {int: "whole numbers", float: "numbers", str: "texts"}


def worded(message: str, config_class: type[Any], known: Collection[str], paths: Mapping[str, str]) -> str:
    """An error of the parser, in the words of the package.

    Args:
        message: of the parser, in one line.
        config_class: dataclass of the options.
        known: every option, with its dashes.
        paths: options that may stand alone, by what they are called then.

    Returns:
        One line; the message itself where it is of no known kind.
    """
    if found := re.fullmatch(r"the following arguments are required: (.*)", message):
        missing = [_named(f"--{key}", paths) for key in found[1].split(", ")]
        return f"expected {' and '.join(missing)}, found none"
    if found := re.fullmatch(r"unrecognized arguments: (.*)", message, re.IGNORECASE):
        return _unknown(found[1].split(), known)
    if found := re.fullmatch(r"argument (--\S+): expected .*", message):
        return f"expected a value behind {found[1]}, found none"
    if found := re.fullmatch(r"Option '(.*)' is not accepted", message):
        return _unknown([f"--{found[1]}"], known)
    if found := re.fullmatch(r"Group '(.*)' does not accept option '(.*)'", message):
        return _unknown([f"--{found[1]}.{found[2]}"], known)
    if found := re.fullmatch(r"Unexpected config: (.*)", message):
        return f"expected YAML of options with their values, found {found[1]}"
    if found := re.match(r'Parser key "([^"]*)": (.*)', message):
        return _of_value(found[1], found[2], config_class)
    return message


def meant(word: str, known: Collection[str]) -> str:
    """What a word comes closest to, as a question; nothing where it resembles none."""
    close = get_close_matches(word, known, n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def required_options(config_class: type[Any], prefix: str = "--") -> Iterator[str]:
    """Options without a default, with their dashes."""
    kinds = get_type_hints(config_class)
    for option in dataclasses.fields(config_class):
        if option.default is option.default_factory is dataclasses.MISSING:
            if dataclasses.is_dataclass(kind := kinds[option.name]) and isinstance(kind, type):
                yield from required_options(kind, f"{prefix}{option.name}.")
            else:
                yield f"{prefix}{option.name}"


def section_of(key: str, config_class: type[Any]) -> type[Any] | None:
    """The dataclass of a section's options, by its name `section.inner`; None of what is no section."""
    kind: Any = config_class
    for name in key.split("."):
        kind = _dataclass_in(get_type_hints(kind).get(name))
        if kind is None:
            return None
    return kind  # type: ignore[no-any-return]


def _named(option: str, paths: Mapping[str, str]) -> str:
    names = [name for name, path in paths.items() if path == option]
    return f"{names[0]} ({option})" if names else option


def _unknown(words: Sequence[str], known: Collection[str]) -> str:
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    if not options:
        return f"expected an option, found {' '.join(words)}"
    shown = (f"{option}{meant(option, known)}" for option in options if option not in known)
    return f"expected known options, found {', '.join(shown) or ' '.join(words)}"


def _of_value(key: str, problem: str, config_class: type[Any]) -> str:
    """What is wrong with the value of an option."""
    kind = _kind_of(key, config_class)
    inner = re.search(r"Problem with given class_path '.*?': (.*)", problem)
    if inner and (entry := _dataclass_in(kind)) is not None:
        known = [f"--{field.name}" for field in dataclasses.fields(entry)]
        return f"--{key}: {worded(inner[1], entry, known, {}).replace('--', '')}"
    if found := re.search(r"NestedArg\(key='(.*?)'", problem):
        return f"expected {key} to be {_described(kind)}, found an option --{key}.{found[1]}"
    if found := re.search(r"Unable to load config '(.*?)'", problem):
        return f"expected --{key} to be a YAML file of its options, found {found[1]}"
    value = re.search(r"Given value: (.*)", problem) or re.search(r"Got value: (.*)", problem)
    if kind is None or value is None:
        return f"--{key}: {problem}"
    choices = [choice for part in _parts(kind) if get_origin(part) is Literal for choice in get_args(part)]
    return f"expected --{key} to be {_described(kind)}, found {value[1]}{meant(value[1], list(map(str, choices)))}"


def _kind_of(key: str, config_class: type[Any]) -> Any:
    """The declared type of an option `section.name`; None of what is none."""
    kind: Any = config_class
    for name in key.split("."):
        kind = get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
    return kind


def _dataclass_in(kind: Any) -> type[Any] | None:
    """The dataclass that a type is, may be, or is a list of."""
    return next((part for part in _parts(kind) if isinstance(part, type) and dataclasses.is_dataclass(part)), None)


def _parts(kind: Any) -> Iterator[Any]:
    """A type and the types it is made of."""
    yield kind
    if get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from _parts(part)


def _described(kind: Any) -> str:
    *others, last = _alternatives(kind)
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(kind: Any) -> Iterator[str]:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is bool:
        yield from ("true", "false")
    elif origin is Literal:
        yield from map(str, parts)
    elif origin in (Union, types.UnionType):
        for part in parts:
            yield from _alternatives(part)
    elif origin is tuple:
        yield f"a list of {_MANY.get(parts[0], 'sections')}"
    else:
        yield _WORDS.get(kind, "a section of options")
