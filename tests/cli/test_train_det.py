import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ofa_det.training.loop as loop
from ofa_det.arch.files import write_json
from ofa_det.arch.search_space import SearchSpace
from ofa_det.cli.command import command
from ofa_det.cli.train_det import TrainConfig, main
from ofa_det.data.generated import CATEGORIES, generate_dataset
from ofa_det.models.run_folder import load_detector, load_supernet, read_description

SPACE = SearchSpace(resolutions=(64, 96), depths=(1, 2), expand_ratios=(3,), kernel_sizes=(3, 5))
CONFIGS = Path(__file__).parents[2] / "configs" / "train"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate_dataset(tmp_path_factory.mktemp("data"), num_train=12, num_val=3, image_size=(96, 128))


def arguments(data, output, *more, images=16):
    options = {
        "data.root": data,
        "data.holdout_fraction": 0.3,
        "output": output,
        "backbone.width_mult": 0.25,
        "backbone.last_width": 64,
        "extra_widths": "[32,32,32,32]",
        "space.resolutions": "[64,96]",
        "space.depths": "[1,2]",
        "space.expand_ratios": "[3]",
        "space.kernel_sizes": "[3,5]",
        "num_anchors": 4,
        "num_workers": 0,
        "calibration_images": 4,
        "schedule.num_images": images,
        "schedule.batch_size": 4,
        "schedule.warmup_images": 4,
        "checkpoint_every": 4,
        "validate_every": 8,
        "accelerator": "cpu",
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))] + list(more)


@pytest.fixture(scope="module")
def supernet(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "supernet"
    assert main(arguments(data, folder)) == 0
    return folder


def test_a_run_folder_is_complete(supernet):
    assert {"config.yaml", "model.safetensors", "last.ckpt", "metrics.jsonl", "pictures"} <= {
        path.name for path in supernet.iterdir()
    }
    assert list(supernet.glob("events.*"))
    records = [json.loads(line) for line in (supernet / "metrics.jsonl").read_text().splitlines()]
    assert {"AP_largest", "AP_smallest"} <= records[-1].keys()
    assert all(record["loss"] > 0 for record in records if "loss" in record)
    assert len(list((supernet / "pictures").iterdir())) == 2
    trained = load_supernet(supernet)
    assert trained.supernet.space == SPACE
    assert trained.categories == CATEGORIES
    assert trained.holdout_fraction == 0.3


def test_the_config_repeats_the_run(supernet, tmp_path):
    assert main(["--config", str(supernet / "config.yaml"), "--output", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again/model.safetensors").read_bytes() == (supernet / "model.safetensors").read_bytes()


def test_an_interrupted_run_goes_on_to_the_same_weights(supernet, data, tmp_path, monkeypatch, capsys):
    output = tmp_path / "run"
    original, calls = loop.accumulate_gradients, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "accumulate_gradients", interrupted)
        assert main(arguments(data, output)) == 130
    assert main(arguments(data, output)) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(arguments(data, output, "--resume", "--schedule.batch_size", "2")) == 2
    assert "schedule" in capsys.readouterr().err
    assert main(arguments(data, output, "--resume")) == 0
    assert (output / "model.safetensors").read_bytes() == (supernet / "model.safetensors").read_bytes()


def test_one_subnet_of_the_supernet_is_fine_tuned(supernet, data, tmp_path):
    write_json(tmp_path / "subnet.json", SPACE.largest(64).to_json() | {"ap": 0.5})
    more = ("--supernet", str(supernet), "--subnet", str(tmp_path / "subnet.json"))
    assert main(arguments(data, tmp_path / "det", *more, images=8)) == 0
    trained = load_detector(tmp_path / "det")
    assert trained.detector.subnet == SPACE.largest(64)
    assert trained.detector.config == read_description(supernet).detector


def test_mistakes_are_one_line(supernet, data, tmp_path, capsys):
    assert main(arguments(data, tmp_path / "a", "--supernet", str(supernet))) == 2
    assert "--subnet" in capsys.readouterr().err
    assert main(arguments(tmp_path / "nowhere", tmp_path / "b")) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main(arguments(data, tmp_path / "d", "--anchors", "sdd")) == 2
    assert "expected anchors to be fit, ssd or" in capsys.readouterr().err
    assert main(arguments(data, tmp_path / "e", "--accelerator", "abacus")) == 2
    assert "abacus" in capsys.readouterr().err
    write_json(tmp_path / "subnet.json", SPACE.largest(96).to_json() | {"schema_version": 9})
    assert main(arguments(data, tmp_path / "c", "--subnet", str(tmp_path / "subnet.json"))) == 2
    assert "schema_version" in capsys.readouterr().err


def parsed(path):
    """The config that the command would run with."""
    seen = []
    assert command("train", "", TrainConfig, seen.append)(["--config", str(path), "--data.root", "DATA"]) == 0
    return seen[0]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configs_are_valid(path):
    assert path.read_text().startswith("# ")
    config = parsed(path)
    assert config.schedule.num_steps > 0


@pytest.mark.slow
def test_killed_five_times_at_random_moments_the_weights_are_the_same(data, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "ofa_det.cli.main", "train"]
    options = ("--resume", "--validate_every", "1000")
    subprocess.run([*command, *arguments(data, whole, *options, images=400)], check=True)
    rng = random.Random(0)
    for _ in range(5):
        before = written(killed / "last.ckpt")
        process = subprocess.Popen([*command, *arguments(data, killed, *options, images=400)])
        while written(killed / "last.ckpt") == before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, *arguments(data, killed, *options, images=400)], check=True)
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def written(path):
    return path.stat().st_mtime_ns if path.exists() else 0
