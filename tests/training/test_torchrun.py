"""Two processes on gloo against one. By hand, for any data set and options:

options="--config overfit --data.root DATA --schedule.batch_size 8 --accelerator cpu"
torchrun --standalone --nproc_per_node 2 tools/train_det.py $options --output runs/two
python tools/train_det.py $options --output runs/one
grep -ho '"step.*"loss": [0-9.]*' runs/one/metrics.jsonl runs/two/metrics.jsonl | sort

The two differ by the rounding of sums, as one process does from itself when the images of each batch are reversed: over
the twenty steps here by 2e-5 at most either way. With an assigner that looks at the network's output, or a greater
learning rate, such differences grow faster.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ofa_det.data.generated import generate_dataset
from ofa_det.training.state import load_checkpoint

pytestmark = pytest.mark.slow

TRAIN = """
from ofa_det.training import loop

loop.LOG_EVERY_STEPS = 1
from ofa_det.cli.train_det import main

raise SystemExit(main())
"""

STOP = """
import itertools

from ofa_det.training import loop, optimiser

loop.LOG_EVERY_STEPS, calls, original = 1, itertools.count(), optimiser.accumulate_gradients


def interrupted(*args, **kwargs):
    if next(calls) == 12:
        raise KeyboardInterrupt
    return original(*args, **kwargs)


optimiser.accumulate_gradients = interrupted
from ofa_det.cli.train_det import main

raise SystemExit(main())
"""

DIE = """
import os

from ofa_det.training import optimiser

original = optimiser.accumulate_gradients


def dying(*args, **kwargs):
    if os.environ["RANK"] == "1":
        raise ValueError("expected anything else")
    return original(*args, **kwargs)


optimiser.accumulate_gradients = dying
from ofa_det.cli.train_det import main

raise SystemExit(main())
"""

SCORE = """
import sys

import torch
import torch.distributed as dist

from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.ranks import ALONE, Ranks
from ofa_det.models.run_folder import load_supernet

dist.init_process_group("gloo")
ranks, trained = Ranks(index=dist.get_rank(), count=dist.get_world_size()), load_supernet(sys.argv[1])
train, val = (open_split(DataConfig(root=sys.argv[2]), split) for split in ("train", "val"))
options = {"calibration": train, "augmentation": AugmentationConfig(), "calibration_images": 8, "scored": val}
found = []
for of in (ALONE, ranks):
    scorer = SubnetScorer(trained.description, **options, ranks=of)
    found.append(scorer.score(scorer.predictor(trained.network, trained.description.detector.space.largest())))
assert found[0] == found[1], found
own = torch.tensor([1.0 + ranks.index], requires_grad=True)
(ranks.gather(own)[:, 0] * torch.tensor([3.0, 5.0]) * (1 + ranks.index)).sum().backward()
assert own.grad.item() == (1 + 2) * (3.0, 5.0)[ranks.index], own.grad
assert ranks.gather_lists([ranks.index, "x"]) == [0, "x", 1, "x"]
print("EQUAL", found[0].record.detections)
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_dataset(tmp_path_factory.mktemp("data"), num_train=40, num_val=20, image_size=(96, 128))


@pytest.fixture(scope="module")
def options(data: Path, tiny_space_file: Path) -> list[str]:
    """Twenty steps of eight images."""
    given: dict[str, Any] = {
        "data.root": data,
        "space": tiny_space_file,
        "schedule.num_images": 160,
        "schedule.batch_size": 8,
        "schedule.warmup_images": 40,
        "schedule.learning_rate": 1e-4,
        "assigner.kind": "iou",
        "assigner.scores": "one",
        "num_workers": 0,
        "calibration_images": 8,
        "checkpoint_every": 80,
        "validate_every": 80,
        "accelerator": "cpu",
    }
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def run(program: str, ranks: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    path = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(path)}
    inline = ["--no-python", sys.executable, "-c", program]
    return subprocess.run(
        [*command, *inline, *words], capture_output=True, text=True, env=environment, timeout=180, check=False
    )


def records(folder: Path, figure: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[figure] for line in lines if figure in line}


@pytest.fixture(scope="module")
def one(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one process."""
    folder = tmp_path_factory.mktemp("one")
    finished = run(TRAIN, 1, *options, "--output", str(folder))
    assert finished.returncode == 0, finished.stderr
    return folder


def test_two_processes_train_as_one(one: Path, options: list[str], tmp_path: Path) -> None:
    finished = run(TRAIN, 2, *options, "--output", str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    wanted, found = records(one, "loss"), records(tmp_path, "loss")
    assert list(found) == list(range(20))
    assert found == pytest.approx(wanted, rel=0, abs=1e-4)
    for figure in ("AP_largest", "AP_smallest"):
        assert records(tmp_path, figure) == pytest.approx(records(one, figure), rel=0, abs=1e-3)
    folders = [{path.name.split(".")[0] for path in folder.rglob("*")} for folder in (one, tmp_path)]
    assert folders[0] == folders[1]
    assert len(list(tmp_path.glob("events.*"))) == 1
    assert finished.stdout.count("wrote ") == 1


def test_one_process_goes_on_where_two_stopped(one: Path, options: list[str], tmp_path: Path) -> None:
    stopped = run(STOP, 2, *options, "--output", str(tmp_path))
    assert stopped.returncode != 0
    assert max(records(tmp_path, "loss")) == 11
    finished = run(TRAIN, 1, *options, "--output", str(tmp_path), "--resume=true")
    assert finished.returncode == 0, finished.stderr
    assert "resuming at step 10" in finished.stderr
    assert records(tmp_path, "loss") == pytest.approx(records(one, "loss"), rel=0, abs=1e-4)


def test_an_error_of_one_process_ends_the_other(options: list[str], tmp_path: Path) -> None:
    ended = run(DIE, 2, *options, "--output", str(tmp_path))
    assert ended.returncode != 0
    assert "error: expected anything else" in ended.stderr


def test_a_batch_that_cannot_be_shared_is_named(options: list[str], tmp_path: Path) -> None:
    ended = run(TRAIN, 2, *options, "--schedule.batch_size", "5", "--output", str(tmp_path))
    assert "to give 2 ranks and accumulate 1 equal parts of at least 2 images, found 5" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_two_processes_score_as_one(one: Path, data: Path) -> None:
    finished = run(SCORE, 2, str(one), str(data))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("EQUAL") == 2


def test_two_processes_take_the_step_of_one_with_targets_that_look_at_the_output(
    options: list[str], tmp_path: Path
) -> None:
    """One step with the default assigner, at a learning rate that moves nothing.

    The gradients, as the optimiser keeps them, differ as much as those of the assigner that looks at anchors alone: by
    1e-3 of their norm at most, and by 3e-4 in one process if the images of the batch are reversed.
    """
    of_step = {
        "assigner.kind": "task_aligned",
        "assigner.scores": "iou",
        "schedule.num_images": 8,
        "schedule.warmup_images": 0,
        "schedule.learning_rate": 1e-9,
    }
    more = [word for name, value in of_step.items() for word in (f"--{name}", str(value))]
    losses, gradients = [], []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        finished = run(TRAIN, ranks, *options, *more, "--output", str(folder))
        assert finished.returncode == 0, finished.stderr
        losses += records(folder, "loss").values()
        state = load_checkpoint(folder)
        assert state is not None
        kept = state["optimizer"]["state"]
        gradients.append(torch.cat([kept[number]["exp_avg"].flatten() for number in sorted(kept)]))
    assert losses[1] == pytest.approx(losses[0], rel=0, abs=1e-4)
    assert (gradients[1] - gradients[0]).norm() < 5e-3 * gradients[0].norm()
