"""From a typed config and a function to a command: help, YAML, overrides, one-line errors."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from jsonargparse import ArgumentError, ArgumentParser
from tqdm.contrib.logging import logging_redirect_tqdm

import ofa_det
from ofa_det.artefacts.files import how_to_mend
from ofa_det.artefacts.model_file import CONFIG_FILE
from ofa_det.artefacts.records import read_yaml
from ofa_det.cli.mistakes import required_options, section_of, worded
from ofa_det.cli.naming import unnamed_output
from ofa_det.cli.positional import with_options
from ofa_det.cli.words import joined, names_output, spelled_out, underscored, with_presets
from ofa_det.models.launch import is_first_rank, launch
from ofa_det.models.memory import keep_freed_memory

logger = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Printed:
    """What a command says on standard output.

    Args:
        text: for reading.
        values: the same for programs, in the units of the files: AP as a fraction, ms, bytes.
        failure: what was expected and found, where that ends the command with status 2; it is told after the rest.
    """

    text: str
    values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    failure: str | None = None


class Main(Protocol):
    """Entry point of a command."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command on the arguments, `sys.argv[1:]` if none; gives the exit status."""
        ...


def command(
    name: str,
    description: str,
    config_class: type[ConfigT],
    run: Callable[[ConfigT], Printed | None],
    *,
    paths: Mapping[str, str] = MappingProxyType({}),
    several: bool = False,
    presets: str | None = None,
    ranks: bool = False,
    numbered: bool = False,
) -> Main:
    """Makes the entry point of one command.

    Args:
        name: as typed after `ofa-det`.
        description: one line.
        config_class: frozen dataclass; its docstring's Args become the help.
        run: does the work and gives what is to be printed, as text or with `--json` as JSON; nothing on a rank that is
            not the first. A ValueError or OSError from it is the user's to mend.
        paths: options, with their dashes, whose values may stand alone in front, by what `--help` calls them.
        several: whether the one of them takes all the words in front.
        presets: folder of `configs/` whose files `--config` also finds by their name.
        ranks: whether the processes of a `torchrun` may run it together.
        numbered: whether it wants a new `output` each time, so that one that nobody named gets a number where the
            default is taken.

    Returns:
        A function of the arguments (`sys.argv[1:]` if none) that gives the exit status: 0, 2 after a user's mistake,
        130 after Ctrl-C.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        parser = _parser(name, description, config_class, presets, _usage(name, config_class, paths, several=several))
        config: Any = None
        try:
            typed = with_options(sys.argv[1:] if argv is None else argv, list(paths.values()), several=several)
            typed = underscored(typed)
            if (asked := _section_help(name, config_class, typed)) is not None:
                print(asked)
                return 0
            words = with_presets(typed, presets)
            config, as_json = _parse(parser, config_class, words)
            if not ranks and (launched := launch()) is not None:
                raise ValueError(
                    f"expected one process, found {launched.num_ranks} ranks; only train and search run under torchrun"
                )
            keep_freed_memory()
            with _logging_to_stderr(), logging_redirect_tqdm(), _warnings_told_once():
                # Ranks might each find another folder free.
                if numbered and launch() is None and not names_output(words):
                    config = _with_unnamed_output(config)
                printed = run(config)
            if printed is not None:
                print(json.dumps(printed.values, indent=2, allow_nan=False) if as_json else _printable(printed.text))
                if printed.failure is not None:
                    raise ValueError(printed.failure)
        except BrokenPipeError:
            # Whoever read the output has seen enough; without this Python would complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except ArgumentError as error:
            line = worded(_one_line(error), config_class, _options_of(parser), paths)
            print(f"ofa-det {name}: error: {line}; see ofa-det {name} --help", file=sys.stderr)
            return 2
        except (ValueError, OSError) as error:
            mend = how_to_mend(error) if isinstance(error, OSError) else None
            line = _as_typed(mend or _one_line(error), paths, sys.argv[1:] if argv is None else argv)
            print(f"ofa-det {name}: error: {line}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"ofa-det {name}: interrupted{_how_to_go_on(name, config)}", file=sys.stderr)
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


class _Once(logging.Filter):
    """Lets each warning pass once: stages of one command read the same data."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno != logging.WARNING or text not in self._told:
            self._told.add(text)
            return True
        return False


@contextmanager
def _warnings_told_once() -> Iterator[None]:
    """Keeps what has been shown from being shown again; who listens to the log itself hears all."""
    once = _Once()
    shown = [handler for handler in logging.root.handlers if getattr(handler, "stream", None) is sys.stderr]
    for handler in shown:
        handler.addFilter(once)
    try:
        yield
    finally:
        for handler in shown:
            handler.removeFilter(once)


def _usage(name: str, config_class: type[Any], paths: Mapping[str, str], *, several: bool) -> str:
    """How the command is typed: paths that stand alone, options that have to be given, and that there are others."""
    alone = [f"{path} [{path} ...]" if several else path for path in paths]
    needed = [option for option in required_options(config_class) if option not in paths.values()]
    values = [f"{option} {option.rpartition('.')[2].removeprefix('--').upper()}" for option in needed]
    return " ".join([f"ofa-det {name}", *alone, *values, "[--option VALUE ...]"])


def _parser(name: str, description: str, config_class: type[Any], presets: str | None, usage: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"ofa-det {name}",
        usage=usage,
        description=description,
        exit_on_error=False,
        version=ofa_det.__version__,
        allow_abbrev=False,
    )
    names = f", or the name of one in configs/{presets}" if presets else ""
    parser.add_argument("--config", action="config", help=f"YAML file with any of the options below{names}")
    parser.add_class_arguments(config_class)
    parser.add_argument("--json", type=bool, default=False, help="print JSON instead of text")
    return parser


def _section_help(name: str, config_class: type[Any], words: Sequence[str]) -> str | None:
    """What `--SECTION.help` asks for: the options of that section alone; nothing where there is no such section."""
    for word in words:
        section = word.removeprefix("--").removesuffix(".help")
        if word == f"--{section}.help" and (kind := section_of(section, config_class)) is not None:
            parser = ArgumentParser(
                prog=f"ofa-det {name}",
                usage=f"ofa-det {name} [--{section}.OPTION VALUE ...]",
                add_help=False,
            )
            parser.add_class_arguments(kind, section)
            return str(parser.format_help()).rstrip()
    return None


def _parse(parser: ArgumentParser, config_class: type[ConfigT], argv: Sequence[str]) -> tuple[ConfigT, bool]:
    """The config, and whether it is JSON that shall be printed."""
    fields = dataclasses.fields(config_class)  # type: ignore[arg-type]
    switches = {"--json", *(f"--{field.name}" for field in fields if field.type in (bool, "bool"))}
    types = {f"--{field.name}": str(field.type) for field in fields}
    several = {
        option: "float |" not in type_
        for option, type_ in types.items()
        if "tuple[float" in type_ or type_ == "tuple[str, ...]"
    }
    try:
        words = joined(spelled_out(argv, switches), several)
        parsed = parser.instantiate(parser.parse_args(words))
    except TypeError as error:
        raise ValueError(f"expected values in every section of the YAML, found an empty one ({error})") from error
    return config_class(**{field.name: parsed[field.name] for field in fields}), bool(parsed["json"])


def _options_of(parser: ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings if option.startswith("--")]


def _how_to_go_on(name: str, config: Any) -> str:
    """Of a command that was interrupted; nothing of one that begins anew."""
    if not hasattr(config, "resume"):
        return ""
    written = Path(config.output) / CONFIG_FILE
    # That of the quickstart is one of its build.
    if written.is_file() and set(read_yaml(written)) <= {field.name for field in dataclasses.fields(config)}:
        return f"; go on with: ofa-det {name} --config {written} --resume"
    return "; go on with the same options and --resume"


def _with_unnamed_output(config: ConfigT) -> ConfigT:
    values: Any = config
    output = unnamed_output(values.output, resume=values.resume)
    if output != values.output:
        logger.info("output is %s, since %s is taken", output, values.output)
    return dataclasses.replace(values, output=output)  # type: ignore[no-any-return]


def _as_typed(line: str, paths: Mapping[str, str], argv: Sequence[str]) -> str:
    """Names what stood alone in front as `--help` calls it, and not by the option that it stands for."""
    typed = {word.partition("=")[0] for word in underscored(argv)}
    for path, option in paths.items():
        if option not in typed:
            line = re.sub(rf"{re.escape(option)}(?![\w.])", path, line)
    return line


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", _printable(str(error))).strip() or type(error).__name__


def _printable(text: str) -> str:
    """With file names that are no UTF-8 written out, since a terminal would refuse them."""
    return text.encode(errors="backslashreplace").decode()
