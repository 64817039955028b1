import io
import json
import logging
import re
from pathlib import Path

import pytest

from ofa_det.artefacts.build_record import BuildFolder
from ofa_det.artefacts.ledger import Ledger
from ofa_det.building.progress import BuildProgress, Reached, clock, time_left, watch_search, watch_training
from ofa_det.building.stages import Stages, repeating_command
from ofa_det.data.splits import DataConfig
from ofa_det.evaluation.run import EvaluateConfig
from ofa_det.training.config import TrainConfig


@pytest.fixture
def new_stages(tmp_path):
    """Opens the stages of one build, as each command that goes on with it does."""

    def new():
        ledger = Ledger.open(tmp_path / "build.jsonl", {"caps": [40]})
        return Stages(BuildFolder(tmp_path), ledger, BuildProgress({}, shown=False))

    return new


def test_a_finished_stage_does_not_run_again(new_stages, tmp_path):
    path = tmp_path / "supernet/model"
    path.parent.mkdir()
    first, ran = new_stages(), []

    def step():
        ran.append(1)
        path.write_text("weights")

    first.run("supernet", step, writes=[path], command="ofa-det train")
    again = new_stages()
    again.run("supernet", step, writes=[path], command="ofa-det train")
    assert ran == [1]
    assert [entry.name for entry in again.done] == ["supernet"]
    assert again.seconds == first.seconds


def test_an_interrupted_stage_runs_again(new_stages, tmp_path):
    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_stages().run("supernet", killed, writes=[])
    (tmp_path / "model").touch()
    stages = new_stages()
    stages.run("supernet", lambda: None, writes=[tmp_path / "model"])
    assert [entry.name for entry in stages.done] == ["supernet"]


def test_what_a_stage_warns_of_is_remembered_once(new_stages, tmp_path):
    def step():
        for _ in range(2):
            logging.getLogger("ofa_det.training").warning("%d images are broken", 3)
        logging.getLogger("ofa_det.training").info("told")
        logging.getLogger("others").warning("of others")

    stages = new_stages()
    stages.run("supernet", step, writes=[])
    stages.run("search", lambda: None, writes=[])
    again = new_stages()
    again.run("supernet", step, writes=[])
    assert [entry.warnings for entry in stages.done] == [("3 images are broken",), ()]
    assert again.done == stages.done[:1]


@pytest.mark.parametrize("found", ["another", "none"])
def test_a_finished_stage_whose_files_have_changed_is_an_error(new_stages, tmp_path, found):
    path = tmp_path / "model"
    new_stages().run("supernet", lambda: path.write_text("weights"), writes=[path])
    if found == "another":
        path.write_text("others")
    else:
        path.unlink()
    with pytest.raises(ValueError, match=f"expected {path} as stage supernet left it, found {found}; build in another"):
        new_stages().run("supernet", lambda: None, writes=[path])


def test_a_command_repeats_a_stage_elsewhere(tmp_path):
    folder = BuildFolder(tmp_path / "x")
    config = TrainConfig(
        data=DataConfig(root="DATA"),
        output=str(folder.detector(37.5)),
        supernet=str(folder.supernet),
        subnet=str(folder.subnet(37.5, 1)),
    )
    assert repeating_command("train", config, folder.configs / "d.yaml", folder) == (
        f'ofa-det train --config {tmp_path}/x/configs/d.yaml --output "$AGAIN/detector_37.5ms" '
        '--supernet "$AGAIN/supernet" --subnet "$AGAIN/search/subnet.json"'
    )
    # A space that the build wrote is one of its configurations, and stays where it is.
    whole = TrainConfig(data=DataConfig(root="DATA"), space=str(folder.configs / "space.yaml"), output="elsewhere")
    assert "--space" not in repeating_command("train", whole, folder.configs / "s.yaml", folder)


def test_configuration_and_commands_are_written(new_stages, tmp_path):
    stages = new_stages()
    config = EvaluateConfig(model=str(tmp_path / "export/model.tflite"), data=DataConfig(root="DATA"), output="other")
    metrics = tmp_path / "metrics.json"
    stages.run_config("evaluation", "eval", config, lambda _: metrics.touch(), writes=[metrics])
    stages.write_commands()
    text = (tmp_path / "configs/evaluation.yaml").read_text()
    assert re.search(r"^# Stage evaluation.*\n#   ofa-det eval --config ", text)
    assert "model: " in text
    commands = (tmp_path / "commands.txt").read_text().splitlines()
    assert commands[-1].startswith("ofa-det eval --config ")
    assert commands[-1].endswith('--model "$AGAIN/export/model.tflite"')


def test_time_left_is_that_of_this_stage_and_of_those_behind_it():
    expected = {"a": 100.0, "b": 200.0, "c": 50.0}
    order = list(expected)
    assert time_left("b", None, 30.0, order=order, expected_s=expected) == 170 + 50
    assert time_left("b", None, 300.0, order=order, expected_s=expected) == 50
    half = Reached(done=5, total=10, text="")
    assert time_left("b", half, 30.0, order=order, expected_s=expected) == 100 + 50
    told = Reached(done=5, total=10, text="", left_s=7.0)
    assert time_left("a", told, 30.0, order=order, expected_s=expected) == 7 + 250


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (750, "12 min"), (3_900, "1 h 05 min")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_a_log_gets_whole_lines(tmp_path):
    stream = io.StringIO()
    progress = BuildProgress({"one": 60.0, "two": 120.0}, stream=stream)
    with progress.stage("one", lambda: Reached(done=1, total=4, text="1 of 4 images", left_s=30.0)):
        pass
    with progress.stage("two"):
        pass
    assert stream.getvalue().splitlines() == [
        "[1/2] one: 1 of 4 images; about 2 min left of all",
        "[1/2] one done in 0 s",
        "[2/2] two; about 2 min left of all",
        "[2/2] two done in 0 s",
    ]


def test_watchers_read_what_a_stage_writes_while_it_writes(tmp_path: Path):
    metrics = tmp_path / "metrics.jsonl"
    watch = watch_training(metrics, 320)
    assert watch() is None
    metrics.write_text(
        json.dumps({"step": 9, "images": 160, "loss": 2.5, "images_per_s": 8.0})
        + "\n"
        + json.dumps({"step": 9, "images": 160, "AP": 0.25})
        + '\n{"step": 19, "ima'
    )
    reached = watch()
    assert (reached.done, reached.total, reached.left_s) == (160, 320, 20.0)
    assert reached.text == "160 of 320 images, loss 2.50, AP 0.250, 8.0 images/s"
    evaluations = tmp_path / "evaluations.jsonl"
    evaluations.write_text('{"schema_version": 2, "identity": {}}\n{"ap": 0.1}\n{"ap": 0.3}\n{"ap": 0.2}\n')
    assert watch_search(evaluations, 12)() == Reached(done=3, total=12, text="3 of about 12 subnets, AP 30.0")
