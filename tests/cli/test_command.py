from dataclasses import dataclass, field

import pytest

from ofa_det.arch.search_space import SearchSpace
from ofa_det.cli.command import command, config_yaml
from ofa_det.cli.main import COMMANDS, main


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a command.

    Args:
        root: folder to read.
        resume: go on.
        rate: per second.
        space: subnets.
    """

    root: str
    resume: bool = False
    rate: float = 0.5
    space: SearchSpace = field(default_factory=SearchSpace)


def run_with(*argv, action=lambda options: None):
    seen = []

    def run(options):
        seen.append(options)
        action(options)

    return command("test", "Tests.", Options, run)(argv), seen


def test_nested_options_and_a_bare_switch():
    status, (options,) = run_with("--root", "x", "--resume", "--rate", "2", "--space.depths", "[1,2]")
    assert status == 0
    assert options == Options(root="x", resume=True, rate=2.0, space=SearchSpace(depths=(1, 2)))


def test_yaml_round_trip_with_an_override(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(config_yaml(Options(root="x", rate=3.0, space=SearchSpace(depths=(1,)))))
    assert run_with("--config", str(path), "--rate", "4")[1] == [
        Options(root="x", rate=4.0, space=SearchSpace(depths=(1,)))
    ]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "root"),
        (["--root", "x", "--speed", "1"], "speed"),
        (["--root", "x", "--rate", "fast"], "rate"),
        (["--root", "x", "--space.kernel_sizes", "[2]"], "expected odd kernel_sizes, found [2]"),
        (["--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, argv, words):
    status, seen = run_with(*argv)
    error = capsys.readouterr().err
    assert (status, seen) == (2, [])
    assert error.count("\n") == 1
    assert words in error


@pytest.mark.parametrize("error", [ValueError("expected a,\nfound b"), FileNotFoundError("expected a, found b")])
def test_an_error_of_the_library_is_one_line_and_status_2(capsys, error):
    def fail(options):
        raise error

    assert run_with("--root", "x", action=fail)[0] == 2
    assert capsys.readouterr().err == "ofa-det test: error: expected a, found b\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(capsys, name):
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: ofa-det {name} " in text
    assert "--config" in text


def test_an_unknown_command_names_the_known_ones(capsys):
    assert main(["trian"]) == 2
    assert "train" in capsys.readouterr().err
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
