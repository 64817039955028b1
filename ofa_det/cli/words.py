"""The words of a command line: from what people type to what the parser reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ofa_det.artefacts.configs import configs_folder, find_config
from ofa_det.artefacts.records import read_yaml


def underscored(argv: Sequence[str]) -> list[str]:
    """Options as they are declared, whether typed with hyphens or underscores."""
    words = []
    for word in argv:
        option, equals, value = word.partition("=")
        is_option = option.startswith("--")
        words.append(f"--{option[2:].replace('-', '_')}{equals}{value}" if is_option else word)
    return words


def names_output(words: Sequence[str]) -> bool:
    """Whether the user has said where the results go, by the option or in a YAML file of their own."""
    pairs = [word.partition("=") for word in words]
    if any(option == "--output" for option, _, _ in pairs):
        return True
    following = [*words, ""][1:]
    configs = [
        Path(value if equals else after)
        for (option, equals, value), after in zip(pairs, following, strict=True)
        if option == "--config"
    ]
    ours = configs_folder().resolve()
    return any(ours not in path.resolve().parents for path in configs)


def with_presets(argv: Sequence[str], presets: str | None) -> list[str]:
    """Replaces the name of a preset behind `--config` by its path; a file that is no YAML is refused by its name.

    The files come first, wherever they were typed: an option says more than a preset.
    """
    files, others = [], []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--config" and (equals or (value := next(words, ""))):
            files.append(f"--config={_config_file(value, presets)}")
        else:
            others.append(word)
    return [*files, *others]


def _config_file(name_or_path: str, presets: str | None) -> Path:
    path = find_config(presets, name_or_path) if presets else Path(name_or_path)
    if path.is_file():
        read_yaml(path)
    return path


def spelled_out(argv: Sequence[str], switches: set[str]) -> list[str]:
    """Lets a boolean option stand alone: `--resume` is `--resume=true`."""
    following = [*argv[1:], ""]
    return [
        f"{word}=true" if word in switches and after.lower() not in ("true", "false") else word
        for word, after in zip(argv, following, strict=False)
    ]


def joined(argv: Sequence[str], several: Mapping[str, bool]) -> list[str]:
    """Makes a list of an option that may be given more than once: `--x 1 --x 2` is `--x=[1,2]`.

    Args:
        argv: what was typed.
        several: those options, and whether one value is a list as well.
    """
    words: list[str] = []
    given: dict[str, list[str]] = {}
    rest = iter(argv)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in several:
            given.setdefault(name, []).append(value if equals else next(rest, ""))
        else:
            words.append(word)
    for name, values in given.items():
        inner = ",".join(value.strip().removeprefix("[").removesuffix("]") for value in values)
        words.append(f"{name}=[{inner}]" if len(values) > 1 or several[name] else f"{name}={values[0]}")
    return words
