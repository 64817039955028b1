"""Run folders that nobody named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ofa_det.cli.command import Printed, command
from ofa_det.cli.naming import unnamed_output


def occupied(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "file").touch()


def test_a_new_run_takes_the_number_after_the_last(tmp_path: Path) -> None:
    default = str(tmp_path / "runs/train")
    assert unnamed_output(default, resume=False) == default
    occupied(tmp_path / "runs/train")
    assert unnamed_output(default, resume=False) == f"{default}-2"
    occupied(tmp_path / "runs/train-9")
    occupied(tmp_path / "runs/train-old")
    occupied(tmp_path / "runs/train-02")
    assert unnamed_output(default, resume=False) == f"{default}-10"


def test_an_empty_folder_is_free_and_a_file_is_not(tmp_path: Path) -> None:
    default = str(tmp_path / "train")
    Path(default).mkdir()
    assert unnamed_output(default, resume=False) == default
    (tmp_path / "train-2").touch()
    assert unnamed_output(default, resume=False) == f"{default}-3"


def test_going_on_means_the_last_run(tmp_path: Path) -> None:
    default = str(tmp_path / "train")
    assert unnamed_output(default, resume=True) == default
    occupied(tmp_path / "train")
    occupied(tmp_path / "train-2")
    assert unnamed_output(default, resume=True) == f"{default}-2"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run.

    Args:
        output: folder.
        resume: go on.
    """

    output: str = "runs/train"
    resume: bool = False


def outputs_of(*argv: str, presets: str | None = None) -> str:
    seen: list[RunConfig] = []

    def run(config: RunConfig) -> Printed:
        seen.append(config)
        return Printed(text=f"wrote {config.output}", values={"output": config.output})

    assert command("test", "Tests.", RunConfig, run, presets=presets, numbered=True)(argv) == 0
    return seen[0].output


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    occupied(tmp_path / "runs/train")
    return tmp_path


def test_a_command_says_which_folder_it_took(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert outputs_of() == "runs/train-2"
    printed = capsys.readouterr()
    assert printed.out == "wrote runs/train-2\n"
    assert printed.err == "INFO: output is runs/train-2, since runs/train is taken\n"


@pytest.mark.parametrize("words", [["--output", "runs/train"], ["--output=runs/train"]])
def test_a_folder_that_was_named_stays(taken: Path, words: list[str]) -> None:
    assert outputs_of(*words) == "runs/train"


def test_one_in_a_yaml_of_the_user_was_named_and_one_in_ours_was_not(
    taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (taken / "configs/tests").mkdir(parents=True)
    for path in (taken / "mine.yaml", taken / "configs/tests/ours.yaml"):
        path.write_text("output: runs/train\n")
    monkeypatch.setattr("ofa_det.artefacts.configs.configs_folder", lambda: taken / "configs")
    monkeypatch.setattr("ofa_det.cli.words.configs_folder", lambda: taken / "configs")
    assert outputs_of("--config", "mine.yaml", presets="tests") == "runs/train"
    assert outputs_of("--config", "ours", presets="tests") == "runs/train-2"
    assert outputs_of("--config=configs/tests/ours.yaml", presets="tests") == "runs/train-2"


def test_ranks_of_a_torchrun_take_no_number(taken: Path, torchrun: pytest.MonkeyPatch) -> None:
    def run(config: RunConfig) -> None:
        assert config.output == "runs/train"

    assert command("test", "Tests.", RunConfig, run, numbered=True, ranks=True)([]) == 0
