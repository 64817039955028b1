import io
import json
import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ofa_det.artefacts.build_record import BuildFolder
from ofa_det.artefacts.ledger import Ledger
from ofa_det.building.progress import BuildProgress, Pace, Reached, clock, watch_labels, watch_search, watch_training
from ofa_det.building.stages import LEDGER_FILE, Stages, is_planned, repeating_command
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.loading import training_loader
from ofa_det.data.splits import DataConfig, open_split
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


def test_what_workers_of_a_stage_warn_of_is_on_its_page(new_stages, tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "data")
    dataset = open_split(DataConfig(root=str(root)), "train")
    path = dataset.path(3)
    path.write_bytes(path.read_bytes()[:900])

    def step():
        of_every_step = {"resolution_of_step": lambda step: 32, "augmentation": AugmentationConfig(), "num_workers": 2}
        list(training_loader(dataset, batch_size=4, first_step=0, num_steps=3, seed=0, **of_every_step))

    stages = new_stages()
    stages.run("supernet", step, writes=[])
    (warning,) = stages.done[0].warnings
    assert warning.startswith(f"expected a readable image in {path}, found ")
    assert warning.endswith("; replace it; it is taken as grey, without boxes")


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
    # The data are no stage, even where they lie in the folder, as those of the quickstart.
    data = DataConfig(root=str(folder.root / "data"))
    taught = replace(config, data=data, teacher=replace(config.teacher, labels=str(folder.labels)))
    command = repeating_command("train", taught, folder.configs / "d.yaml", folder)
    assert command.endswith(' --subnet "$AGAIN/search/subnet.json" --teacher.labels "$AGAIN/labels"')
    assert "data" not in command
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
    progress = BuildProgress({"a": 100.0, "b": 200.0}, shown=False)
    assert progress.left_s("a", None, 0.0) is None  # Before a plan nobody knows.
    progress.plan({"c": 50.0}, whole=True)
    assert progress.left_s("b", None, 30.0) == 170 + 50
    assert progress.left_s("b", None, 300.0) == 50
    assert progress.left_s("a", 7.0, 30.0) == 7 + 250
    progress.leave_out("c")
    assert progress.left_s("a", 7.0, 30.0) == 7 + 200


def test_until_all_lengths_are_planned_the_time_left_is_that_of_the_budget():
    progress = BuildProgress({"inspection": 20.0, "plan": 60.0}, budget_s=1_000.0, shown=False)
    assert progress.left_s("inspection", None, 5.0) == 995
    progress.finished("inspection", 10.0, whole=True)
    progress.plan({"supernet": 300.0, "detector_40ms": 0.0, "export_40ms": 60.0}, whole=False)
    assert progress.left_s("plan", None, 20.0) == 1_000 - 10 - 20
    assert progress.left_s("supernet", 2_000.0, 0.0) == 2_060
    progress.plan({"detector_40ms": 400.0}, whole=True)
    assert progress.left_s("supernet", 100.0, 0.0) == 560


def test_stages_to_come_are_judged_by_finished_ones_of_their_kind():
    expected = {"supernet": 100.0, "detector_40ms": 50.0, "export_40ms": 30.0, "export_80ms": 30.0, "report": 10.0}
    progress = BuildProgress(expected, shown=False)
    progress.plan({}, whole=True)
    progress.finished("supernet", 200.0, whole=True)
    assert progress.left_s("detector_40ms", None, 0.0) == 100 + 30 + 30 + 10
    progress.finished("detector_40ms", 40.0, whole=False)  # It went on from somewhere: of its speed this says nothing.
    progress.finished("export_40ms", 15.0, whole=True)
    assert progress.left_s("export_80ms", None, 5.0) == 10 + 10
    assert progress.left_s("detector_40ms", None, 0.0) == 100 + 15 + 15 + 10


def test_a_pace_is_that_of_what_has_been_seen():
    def reached(done, left_s=None):
        return Reached(done=done, total=100, text="", left_s=left_s)

    pace = Pace()
    assert pace.left_s(None, 0.0) is None
    assert pace.left_s(reached(40, left_s=7.0), 10.0) == 7.0  # What an earlier run did.
    assert pace.left_s(reached(50), 20.0) == 50 * 1.0
    assert pace.left_s(reached(50), 25.0) == 45.0
    assert pace.left_s(reached(90), 60.0) == 10 * 1.0
    assert pace.left_s(reached(90), 600.0) == 0.0


def test_a_stage_that_went_on_is_known_by_its_first_look(new_stages, tmp_path):
    stages = new_stages()
    seen = iter([None, Reached(done=1, total=2, text="")])
    stages.run("supernet", lambda: None, writes=[], watch=lambda: next(seen))
    stages.run("search", lambda: None, writes=[], watch=lambda: next(seen))
    entries = map(json.loads, (tmp_path / "build.jsonl").read_text().splitlines()[1:])
    assert [entry["whole"] for entry in entries] == [True, False]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (750, "12 min"), (3_900, "1 h 05 min")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_a_log_gets_whole_lines(tmp_path):
    stream = io.StringIO()
    progress = BuildProgress({"one": 60.0}, stream=stream)
    with progress.stage("one", lambda: None):
        pass
    progress.plan({"two": 120.0}, whole=True)
    with progress.stage("one", lambda: Reached(done=1, total=4, text="1 of 4 images", left_s=30.0)):
        pass
    with progress.stage("two"):
        pass
    assert stream.getvalue().splitlines() == [
        "[1] one: nothing measured yet",
        "[1] one done in 0 s",
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


def test_a_labelling_is_followed_by_its_parts(tmp_path: Path):
    watch = watch_labels(tmp_path, 4)
    assert watch() is None
    for name in ("shards/labels-0.safetensors", "shards/labels-1.safetensors", "features/features-0.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert watch() == Reached(done=3, total=4, text="3 of 4 parts")


def test_a_build_is_one_from_its_plan_on(new_stages, tmp_path: Path):
    ledger = tmp_path / LEDGER_FILE
    assert not is_planned(ledger)
    for name, planned in (("inspection", False), ("plan", True)):
        new_stages().run(name, lambda: None, writes=[])
        assert is_planned(ledger) == planned
