"""The files in `configs/` that commands take."""

import dataclasses
import re
from typing import Any, get_type_hints

import pytest

from ofa_det.artefacts.configs import configs_folder
from ofa_det.artefacts.records import read_yaml
from ofa_det.building.config import BuildConfig
from ofa_det.cli.command import command
from ofa_det.export.config import ExportConfig
from ofa_det.search.run import SearchConfig
from ofa_det.training.config import OF_THE_SUPERNET, TrainConfig

ROOMS: dict[str, Any] = {"train": TrainConfig, "search": SearchConfig, "export": ExportConfig, "build": BuildConfig}
FILES = sorted((room, path.stem) for room in ROOMS for path in (configs_folder() / room).glob("*.yaml"))


GOES_ON = ("low_rank_finetune", "microscope_quantized_finetune", "quantized_finetune")
"""Trainings that go on with a detector; the file leaves it to be named, as it does the data set."""


def parsed(room: str, *argv: str) -> Any:
    """The config that the command would run with."""
    seen: list[Any] = []
    assert command(room, "", ROOMS[room], seen.append, presets=room)(argv) == 0
    return seen[0]


def options(config_class: Any) -> dict[str, Any]:
    """Names of the options, sections as dictionaries of theirs."""
    hints = get_type_hints(config_class)
    return {
        field.name: options(hints[field.name]) if dataclasses.is_dataclass(hints[field.name]) else None
        for field in dataclasses.fields(config_class)
    }


def names(value: Any) -> Any:
    return {key: names(item) if isinstance(item, dict) else None for key, item in value.items()}


def test_there_are_files_for_every_command() -> None:
    assert {room for room, _ in FILES} == set(ROOMS)


@pytest.mark.parametrize(("room", "name"), FILES)
def test_every_file_is_complete(room: str, name: str) -> None:
    """Space, anchors and post-processing come with the supernet that is fine-tuned."""
    wanted = options(ROOMS[room])
    if name.endswith("finetune"):
        wanted = {option: value for option, value in wanted.items() if option not in OF_THE_SUPERNET}
    assert names(read_yaml(configs_folder() / room / f"{name}.yaml")) == wanted


@pytest.mark.parametrize(("room", "name"), FILES)
def test_every_file_is_found_by_its_name_and_says_how_it_is_used(room: str, name: str) -> None:
    path = configs_folder() / room / f"{name}.yaml"
    more = ("--supernet", "S", "--subnet", "subnet.json") if name.endswith("finetune") and name not in GOES_ON else ()
    config = parsed(room, "--config", name, *more)
    assert config == parsed(room, "--config", str(path), *more)
    assert dataclasses.replace(config, data=dataclasses.replace(config.data, root="DATA")) == parsed(
        room, "--config", name, "--data.root", "DATA", *more
    )
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("python tools/" in line for line in header)
    assert any("Hardware" in line for line in header)
    assert not re.findall(r"\b(?:MEASURED|HOURS|MINUTES|TIME|TODO|TBD|FIXME|XX+)\b", "\n".join(header))


def test_an_option_that_acts_under_another_alone_is_marked_alike_in_every_training() -> None:
    marks: dict[str, list[str]] = {}
    files = [name for room, name in FILES if room == "train"]
    for name in files:
        for line in (configs_folder() / "train" / f"{name}.yaml").read_text().splitlines():
            if match := re.fullmatch(r"  (\w+): \S+  # (.+)", line):
                marks.setdefault(match[1], []).append(match[2])
    of_assigner = {"scores", "positive_iou", "ignored_iou", "best_anchors", "candidates", "score_power", "iou_power"}
    of_losses = {"focal_gamma", "focal_alpha", "negatives_per_positive"}
    assert marks.keys() == {"max_zoom_out", "unlabelled_share"} | of_assigner | of_losses
    assert all(len(found) == len(files) and len(set(found)) == 1 for found in marks.values())


def test_the_names_that_there_are_answer_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "", TrainConfig, print, presets="train")(["--config", "cocoa", "--data.root", "D"]) == 2
    error = capsys.readouterr().err
    assert "found 'cocoa'" in error
    assert all(name in error for room, name in FILES if room == "train")
