"""What commands say of themselves, and of words that they do not know."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_command import Options, run_with

from ofa_det.cli.command import command
from ofa_det.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(capsys, name):
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: ofa-det {name} " in text
    assert "\n  --config" in text
    assert "\n  --json" in text
    assert re.findall(r"\n  (--\S+) \S+\s+\((?:type|required)", text) == []  # Nothing between option and type.


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        (["label", "--features.help"], "--features.strides"),
        (["label", "--data.help"], "--data.root"),
        (["train", "--teacher.unlabelled.help"], "--teacher.unlabelled.images"),  # May be absent.
        (["train", "--schedule.phases.help"], "--schedule.phases.sort_channels"),  # A list.
        (["train", "--config", "small_data", "--low-rank.help"], "--low_rank.energy"),
    ],
)
def test_a_section_explains_itself(capsys, typed, option):
    assert main(typed) == 0
    shown, error = capsys.readouterr()
    section = option.rpartition(".")[0]
    assert shown.startswith(f"usage: ofa-det {typed[0]} [{section}.OPTION VALUE ...]\n")
    assert f"  {option} " in shown
    assert all(line.split()[0].startswith(section) for line in shown.splitlines() if line.startswith("  --"))
    assert error == ""


@pytest.mark.parametrize("word", ["--output.help", "--nothing.help", "--data.root.help", "--.help"])
def test_what_is_no_section_has_no_help(capsys, word):
    assert main(["label", word]) == 2
    shown, error = capsys.readouterr()
    assert shown == ""
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--rot", "x"], "--root"),
        (["--root", "x", "--dephts.most", "3"], "--depths.most"),
        (["--root", "x", "--depths.mots=3"], "--depths.most"),
        (["--root", "x", "--resmue"], "--resume"),
        (["--root", "x", "--resum"], "--resume"),  # Abbreviations are not taken.
    ],
)
def test_a_misspelt_option_is_told_what_was_meant(capsys, typed, meant):
    assert run_with(*typed)[0] == 2
    assert f"(did you mean {meant}?); see ofa-det test --help" in capsys.readouterr().err


def test_what_resembles_no_option_is_told_nothing(capsys):
    assert run_with("--root", "x", "--colour", "red")[0] == 2
    assert "did you mean" not in capsys.readouterr().err


def test_paths_stand_alone_and_help_names_them(capsys):
    main = command("test", "Tests.", Options, lambda options: None, paths={"FOLDER": "--root"})
    assert main(["x", "--rate", "2"]) == 0
    assert main(["--rate", "2"]) == 2
    assert "expected FOLDER (--root), found none" in capsys.readouterr().err
    assert main(["x", "y"]) == 2
    assert "expected an option, found y" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith("usage: ofa-det test FOLDER [--option VALUE ...]\n")
    with pytest.raises(SystemExit):
        run_with("--help")
    assert capsys.readouterr().out.startswith("usage: ofa-det test --root ROOT [--option VALUE ...]\n")


def test_an_unknown_command_names_the_known_ones(capsys):
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.endswith(", found 'trian'; did you mean train?\n")
    assert main(["fly"]) == 2
    assert "did you mean" not in capsys.readouterr().err
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_a_misspelt_command_waits_for_no_library():
    script = (
        "import sys; from ofa_det.cli.main import main; main(['trian']); main(['--version']); main([]); "
        "assert not {'torch', 'numpy', 'jsonargparse'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert done.returncode == 0
