"""The parser's errors in words, through a command."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from ofa_det.cli.command import command


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase.

    Args:
        images: to draw.
    """

    images: int


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section.

    Args:
        rate: of it.
        sides: in pixels.
        fast: or slow.
    """

    rate: float = 1.0
    sides: tuple[int, ...] | None = None
    fast: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options.

    Args:
        root: folder.
        cap_ms: several.
        way: to go.
        phases: in order.
        section: of options.
    """

    root: str
    cap_ms: tuple[float, ...]
    way: Literal["auto", "elastic", "single"] = "auto"
    phases: tuple[Phase, ...] = ()
    section: Section = field(default_factory=Section)


NEEDED = ["--root", "x", "--cap_ms", "4"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected FOLDER (--root) and --cap_ms, found none"),
        (["--root", "x", "--cap_ms", "abc"], "expected --cap_ms to be a list of numbers, found abc"),
        (
            [*NEEDED, "--way", "sngle"],
            "expected --way to be auto, elastic or single, found sngle (did you mean single?)",
        ),
        ([*NEEDED, "--way", "x"], "expected --way to be auto, elastic or single, found x"),
        ([*NEEDED, "--way"], "expected a value behind --way, found none"),
        ([*NEEDED, "--section.rate", "fast"], "expected --section.rate to be a number, found fast"),
        ([*NEEDED, "--section.fast", "x"], "expected --section.fast to be true, false or null, found x"),
        (
            [*NEEDED, "--section.sides", "[1, a]"],
            "expected --section.sides to be a list of whole numbers or null, found [1, 'a']",
        ),
        ([*NEEDED, "--section", "5"], "expected --section to be a YAML file of its options, found 5"),
        ([*NEEDED, "--way.x", "5"], "expected way to be auto, elastic or single, found an option --way.x"),
        ([*NEEDED, "--phases", "[{imags: 5}]"], "--phases: expected known options, found imags (did you mean images?)"),
        ([*NEEDED, "--phases", "[{images: x}]"], "--phases: expected images to be a whole number, found x"),
        ([*NEEDED, "--colour", "5"], "expected known options, found --colour"),
        ([*NEEDED, "more"], "expected an option, found more"),
    ],
)
def test_options(capsys, words, told):
    main = command("test", "Tests.", Options, lambda options: None, paths={"FOLDER": "--root"})
    assert main(words) == 2
    assert capsys.readouterr().err == f"ofa-det test: error: {told}; see ofa-det test --help\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sectoin: {rate: 3}", "expected known options, found --sectoin.rate (did you mean --section.rate?)"),
        ("section: {rat: 3}", "expected known options, found --section.rat (did you mean --section.rate?)"),
        ("section: {rate: x}", "expected --section.rate to be a number, found x"),
        ("section:", "expected YAML of options with their values, found section:"),
    ],
)
def test_yaml(capsys, tmp_path, text, told):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    main = command("test", "Tests.", Options, lambda options: None)
    assert main([*NEEDED, "--config", str(path)]) == 2
    assert capsys.readouterr().err == f"ofa-det test: error: {told}; see ofa-det test --help\n"
