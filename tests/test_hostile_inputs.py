"""Inputs made to break the commands: each ends with one line and exit status 2, and none takes the machine with it.

Where single faults are skipped and nothing is left, warnings come before that line; those rows say so. With
`--hostile_table FILE` the lines are written as a table, in Markdown.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hostile_data import DATA_ROWS, Room
from hostile_models import MODEL_ROWS
from hostile_outputs import OUTPUT_ROWS

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.artefacts.model_file import CONFIG_FILE, MODEL_FILE, description_header
from ofa_det.cli.main import main
from ofa_det.data.generated import CATEGORIES, generate_dataset
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import load_supernet, save_model

ROWS = {**DATA_ROWS, **MODEL_ROWS, **OUTPUT_ROWS}
LONGEST_LINE = 200
"""Without the path of the folder that the input lies in."""


@pytest.fixture(scope="module")
def detector(tiny_space, tmp_path_factory) -> Path:
    """Run folder of an untrained detector."""
    folder = tmp_path_factory.mktemp("run") / "det"
    found = ModelDescription(
        detector=DetectorConfig.of(tiny_space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes()),
        subnet=tiny_space.smallest(),
        categories=CATEGORIES,
        postprocess=PostProcessConfig(score_threshold=0.001),
    )
    save_model(folder, found, Detector(found.detector, tiny_space.smallest()))
    assert description_header(found)
    return folder


@pytest.fixture
def room(tmp_path, tiny_root, detector, write_detector):
    model = write_detector([[0.5, 0.5, 0.2, 0.2]], [[0.9, 0.1]], name="sound.tflite")
    with ExitStack() as stack:
        yield Room(folder=tmp_path / "room", data_root=tiny_root, detector=detector, tflite=model, stack=stack)


@pytest.mark.parametrize("name", ROWS)
def test_a_hostile_input_is_one_line_and_status_2(room, name, capfd, record_property):
    make, words = ROWS[name]
    argv = make(room)
    begin = time.process_time()
    with room.stack:
        status = main(argv)
    assert time.process_time() - begin < 10
    output, error = capfd.readouterr()
    lines = error.replace(str(room.folder), ".").splitlines()
    *warnings, line = (line for line in lines if line.strip() and "it/s]" not in line)  # Without progress bars.
    record_property("hostile", (name, argv[0], status, [*warnings, line]))
    assert status == 2
    assert bool(warnings) == ("(warned)" in name), error
    assert all(warning.startswith("WARNING: ") for warning in warnings)
    assert re.match(rf"ofa-det {argv[0]}: error: (\./.+: )?expected .+, found .+; .+", line)
    assert words in line
    assert "Traceback" not in output + error
    assert not (room.folder / "converted").exists()
    assert len(line) <= LONGEST_LINE


def test_an_image_that_is_deleted_while_training_runs_is_told_and_the_model_is_whole(
    tmp_path, tiny_space_file, capfd, record_property
):
    root = generate_dataset(tmp_path / "data", num_train=4, num_val=2, image_size=(96, 128))
    image, run = min((root / "train2017").iterdir()), tmp_path / "run"

    def delete() -> None:
        while not (run / CONFIG_FILE).exists():  # Written once the data set is open.
            time.sleep(0.001)
        image.unlink()

    deleting = threading.Thread(target=delete, daemon=True)
    deleting.start()
    options = {"output": run, "space": tiny_space_file, "num_workers": 2, "accelerator": "cpu", "calibration_images": 4}
    lengths = {"num_images": 48, "batch_size": 4, "warmup_images": 4}
    options |= {"data.root": root, **{f"schedule.{name}": value for name, value in lengths.items()}}
    status = main(["train", *(f"--{name}={value}" for name, value in options.items())])
    deleting.join()
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("WARNING: ")]
    told = [line.replace(str(tmp_path), ".") for line in warnings]
    record_property("hostile", ("image deleted while training runs", "train", status, told))
    assert status == 0
    gone = f"WARNING: expected an image, found nothing at ./data/train2017/{image.name}; it is taken as grey"
    assert told[0] == f"{gone}, without boxes"
    load_supernet((run / MODEL_FILE).parent)
