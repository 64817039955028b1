"""From a typed config and a function to a command: help, YAML, overrides, one-line errors."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from jsonargparse import ArgumentError, ArgumentParser
from tqdm.contrib.logging import logging_redirect_tqdm

from ofa_det.artefacts.configs import find_config
from ofa_det.artefacts.records import read_yaml
from ofa_det.cli.memory import keep_freed_memory
from ofa_det.models.launch import is_first_rank, launch

ConfigT = TypeVar("ConfigT")


class Main(Protocol):
    """Entry point of a command."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command on the arguments, `sys.argv[1:]` if none; gives the exit status."""
        ...


def command(
    name: str,
    description: str,
    config_class: type[ConfigT],
    run: Callable[[ConfigT], None],
    *,
    presets: str | None = None,
    ranks: bool = False,
) -> Main:
    """Makes the entry point of one command.

    Args:
        name: as typed after `ofa-det`.
        description: one line.
        config_class: frozen dataclass; its docstring's Args become the help.
        run: does the work; a ValueError or OSError from it is the user's to mend.
        presets: folder of `configs/` whose files `--config` also finds by their name.
        ranks: whether the processes of a `torchrun` may run it together.

    Returns:
        A function of the arguments (`sys.argv[1:]` if none) that gives the exit status: 0, 2 after a user's mistake,
        130 after Ctrl-C.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        parser = _parser(name, description, config_class, presets)
        try:
            words = _with_presets(sys.argv[1:] if argv is None else argv, presets)
            config = _parse(parser, config_class, words)
            if not ranks and (launched := launch()) is not None:
                raise ValueError(
                    f"expected one process, found {launched.num_ranks} ranks; only train and search run under torchrun"
                )
            keep_freed_memory()
            with _logging_to_stderr(), logging_redirect_tqdm():
                run(config)
        except BrokenPipeError:
            # Whoever read the output has seen enough; without this Python would complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except ArgumentError as error:
            print(f"ofa-det {name}: error: {_one_line(error)}; see --help", file=sys.stderr)
            return 2
        except (ValueError, OSError) as error:
            print(f"ofa-det {name}: error: {_one_line(error)}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"ofa-det {name}: interrupted", file=sys.stderr)
            return 130
        return 0

    return main


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Shows the package's log; other libraries' from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    package = logging.getLogger("ofa_det")
    level = package.level
    # Of the ranks of a torchrun the first alone tells what goes on.
    package.setLevel(logging.INFO if is_first_rank() else logging.WARNING)
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
        package.setLevel(level)


def _parser(name: str, description: str, config_class: type[Any], presets: str | None) -> ArgumentParser:
    parser = ArgumentParser(prog=f"ofa-det {name}", description=description, exit_on_error=False)
    names = f", or the name of one in configs/{presets}" if presets else ""
    parser.add_argument("--config", action="config", help=f"YAML file with any of the options below{names}")
    parser.add_class_arguments(config_class)
    return parser


def _parse(parser: ArgumentParser, config_class: type[ConfigT], argv: Sequence[str]) -> ConfigT:
    switches = {f"--{field.name}" for field in dataclasses.fields(config_class) if field.type in (bool, "bool")}  # type: ignore[arg-type]
    several = {f"--{field.name}" for field in dataclasses.fields(config_class) if "tuple[float" in str(field.type)}  # type: ignore[arg-type]
    try:
        words = _joined(_spelled_out(argv, switches), several)
        parsed = parser.instantiate(parser.parse_args(words))
    except TypeError as error:
        raise ValueError(f"expected values in every section of the YAML, found an empty one ({error})") from error
    return config_class(**{field.name: parsed[field.name] for field in dataclasses.fields(config_class)})  # type: ignore[arg-type]


def _with_presets(argv: Sequence[str], presets: str | None) -> list[str]:
    """Replaces the name of a preset behind `--config` by its path; a file that is no YAML is refused by its name."""
    words = list(argv)
    for position, word in enumerate(words):
        if word.startswith("--config="):
            words[position] = f"--config={_config_file(word.removeprefix('--config='), presets)}"
        elif word == "--config" and position + 1 < len(words):
            words[position + 1] = str(_config_file(words[position + 1], presets))
    return words


def _config_file(name_or_path: str, presets: str | None) -> Path:
    path = find_config(presets, name_or_path) if presets else Path(name_or_path)
    if path.is_file():
        read_yaml(path)
    return path


def _spelled_out(argv: Sequence[str], switches: set[str]) -> list[str]:
    """Lets a boolean option stand alone: `--resume` is `--resume=true`."""
    following = [*argv[1:], ""]
    return [
        f"{word}=true" if word in switches and after.lower() not in ("true", "false") else word
        for word, after in zip(argv, following, strict=False)
    ]


def _joined(argv: Sequence[str], several: set[str]) -> list[str]:
    """Makes a list of an option that is given more than once: `--x 1 --x 2` is `--x [1,2]`."""
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
        words.append(f"{name}={values[0] if len(values) == 1 else '[' + ','.join(values) + ']'}")
    return words


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
