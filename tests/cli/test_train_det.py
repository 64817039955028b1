import json
import random
import signal
import subprocess
import sys
import time

import pytest

from ofa_det.artefacts.evaluations import ChosenSubnet
from ofa_det.artefacts.files import write_json
from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.records import write_record
from ofa_det.cli.train_det import main
from ofa_det.data.generated import CATEGORIES
from ofa_det.models.run_folder import load_detector, load_supernet
from ofa_det.training import optimiser


@pytest.fixture(scope="module")
def arguments(tiny_root, tiny_space_file):
    """Makes the words of a short training into a folder; of a fine-tuning, if space and anchors are the supernet's."""

    def make(output, *more, images=16, of_a_supernet=False):
        options = {
            "data.root": tiny_root,
            "data.holdout_fraction": 0.3,
            "output": output,
            "num_workers": 0,
            "calibration_images": 4,
            "schedule.num_images": images,
            "schedule.batch_size": 4,
            "schedule.warmup_images": 4,
            "checkpoint_every": 4,
            "validate_every": 8,
            "accelerator": "cpu",
        }
        if not of_a_supernet:
            options |= {"space": tiny_space_file, "anchors.count": 4}
        return [word for name, value in options.items() for word in (f"--{name}", str(value))] + list(more)

    return make


@pytest.fixture(scope="module")
def finetuning(arguments, supernet):
    """Makes the words of a short fine-tuning."""

    def make(output, subnet, *more):
        return arguments(
            output, "--supernet", str(supernet), "--subnet", str(subnet), *more, images=8, of_a_supernet=True
        )

    return make


@pytest.fixture(scope="module")
def supernet(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "supernet"
    assert main(arguments(folder)) == 0
    return folder


def test_a_run_folder_is_complete(supernet, tiny_space):
    assert {"config.yaml", "model.safetensors", "last.ckpt", "metrics.jsonl", "pictures"} <= {
        path.name for path in supernet.iterdir()
    }
    assert list(supernet.glob("events.*"))
    records = [json.loads(line) for line in (supernet / "metrics.jsonl").read_text().splitlines()]
    assert {"AP_largest", "AP_smallest"} <= records[-1].keys()
    assert all(record["loss"] > 0 for record in records if "loss" in record)
    assert len(list((supernet / "pictures").iterdir())) == 2
    description = load_supernet(supernet).description
    assert description.detector.num_classes == 4
    assert description.detector.space.backbone == tiny_space.backbone
    assert 1 <= sum(map(len, description.detector.anchor_sizes)) <= 4 + 1
    assert description.categories == CATEGORIES
    assert description.holdout_fraction == 0.3


def test_the_config_repeats_the_run(supernet, tmp_path):
    assert main(["--config", str(supernet / "config.yaml"), "--output", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again/model.safetensors").read_bytes() == (supernet / "model.safetensors").read_bytes()


def test_an_interrupted_run_goes_on_to_the_same_weights(supernet, arguments, tmp_path, monkeypatch, capsys):
    output = tmp_path / "run"
    original, calls = optimiser.accumulate_gradients, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(optimiser, "accumulate_gradients", interrupted)
        assert main(arguments(output)) == 130
    assert main(arguments(output)) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(arguments(output, "--resume", "--schedule.batch_size", "2")) == 2
    assert "schedule" in capsys.readouterr().err
    assert main(arguments(output, "--resume")) == 0
    assert (output / "model.safetensors").read_bytes() == (supernet / "model.safetensors").read_bytes()


def test_one_subnet_of_the_supernet_is_fine_tuned(supernet, finetuning, tiny_space, tmp_path, capsys):
    write_record(tmp_path / "subnet.json", ChosenSubnet(subnet=tiny_space.largest(64), ap=0.5))
    assert main(finetuning(tmp_path / "det", tmp_path / "subnet.json")) == 0
    assert f"wrote {tmp_path / 'det/model.safetensors'}" in capsys.readouterr().out
    description = load_detector(tmp_path / "det").description
    assert description.subnet == tiny_space.largest(64)
    assert description.detector == read_description(supernet).detector
    assert description.postprocess == read_description(supernet).postprocess


def test_its_config_leaves_out_what_came_with_the_supernet(finetuning, tiny_space, tmp_path):
    """So that it repeats the run."""
    assert main(finetuning(tmp_path / "det", tiny_space.smallest(), "--resolutions", "[64,96]")) == 0
    assert main(["--config", str(tmp_path / "det/config.yaml"), "--output", str(tmp_path / "again")]) == 0
    names = [folder / "model.safetensors" for folder in (tmp_path / "det", tmp_path / "again")]
    assert names[0].read_bytes() == names[1].read_bytes()
    assert load_detector(tmp_path / "det").description.subnet == tiny_space.smallest()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data.root", "nowhere"], "nothing at nowhere"),
        (["--supernet", "runs/supernet"], "expected --subnet with --supernet"),
        (
            ["--anchors.source", "sdd"],
            "expected anchors from fit, ssd, scaled or a JSON file of fit-anchors, found 'sdd'",
        ),
        (["--space", "tiny"], "expected a YAML file or one of "),
        (["--subnet", "r64 k3e1"], "found r64 k3e1"),
        (["--subnet", "64"], "expected a subnet like"),
        (["--subnet", "none.json"], "found nothing at none.json"),
        (["--accelerator", "abacus"], "abacus"),
        (["--schedule.epochs", "3"], "schedule.epochs"),
        (["--seed", "none"], "seed"),
        (["--schedule.batch_size", "1"], "expected batch_size >= 2"),
        (["--config", "none"], "expected a YAML file or one of "),
    ],
)
def test_a_mistake_is_one_line(arguments, tmp_path, capsys, more, words):
    assert main(arguments(tmp_path / "out", *more)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO")]
    assert line.startswith("ofa-det train: error: ")
    assert words in line


@pytest.mark.parametrize(
    ("preset", "source", "option"),
    [
        ("low_rank_finetune", "detector", "--low_rank.detector"),
        ("quantized_finetune", "detector", "--quantize.detector"),
        ("microscope_quantized_finetune", "detector", "--quantize.detector"),
        ("finetune", "supernet", "--supernet"),
    ],
)
def test_a_preset_that_goes_on_from_a_run_folder_wants_it_named(tiny_root, tmp_path, capsys, preset, source, option):
    assert main(["--config", preset, "--data.root", str(tiny_root), "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        f"ofa-det train: error: expected the run folder of a trained {source}, found nothing at {source.upper()}; name "
        f"it with {option}\n"
    )
    assert not (tmp_path / "out").exists()


def test_what_comes_with_the_supernet_is_not_asked_for(supernet, arguments, tiny_space, tmp_path, capsys):
    more = ("--supernet", str(supernet), "--subnet", str(tiny_space.smallest()))
    assert main(arguments(tmp_path / "out", *more)) == 2
    assert "expected no --space with --supernet, which has its own" in capsys.readouterr().err


def test_a_subnet_of_another_version_is_refused(arguments, tiny_space, tmp_path, capsys):
    write_record(tmp_path / "subnet.json", ChosenSubnet(subnet=tiny_space.largest(96)))
    content = json.loads((tmp_path / "subnet.json").read_text())
    write_json(tmp_path / "subnet.json", content | {"schema_version": 9})
    assert main(arguments(tmp_path / "out", "--subnet", str(tmp_path / "subnet.json"))) == 2
    assert "schema_version" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_five_times_at_random_moments_the_weights_are_the_same(arguments, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "ofa_det.cli.main", "train"]
    options = ("--resume", "--validate_every", "1000")
    subprocess.run([*command, *arguments(whole, *options, images=400)], check=True)
    rng = random.Random(0)
    for _ in range(5):
        before = written(killed / "last.ckpt")
        process = subprocess.Popen([*command, *arguments(killed, *options, images=400)])
        while written(killed / "last.ckpt") == before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, *arguments(killed, *options, images=400)], check=True)
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def written(path):
    return path.stat().st_mtime_ns if path.exists() else 0
