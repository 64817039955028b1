"""Whole builds of a tiny data set, in a process of their own and killed there."""

import logging
import random
import shlex
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ofa_det.artefacts.build_record import BuildFolder, read_build
from ofa_det.artefacts.configs import read_config
from ofa_det.artefacts.manifest import read_manifest
from ofa_det.building.config import BuildConfig
from ofa_det.building.run import build
from ofa_det.cli.main import COMMANDS
from ofa_det.data.splits import DataConfig
from ofa_det.training.config import TrainConfig
from ofa_det.training.speed import training_speed

CAPS_MS = (22.0, 30.0)
LENGTHS = {"supernet_images": 64, "finetune_images": 64, "search_subnets": 4}


def tiny_build(root: Path, output: Path, **options) -> BuildConfig:
    data = DataConfig(root=str(root))
    given = {"latency_cap_ms": CAPS_MS, "resolutions": (160,), "least_ap": 0.0, **LENGTHS, **options}
    return read_config(BuildConfig, "build/quickstart", data=data, output=str(output), **given)


def artefacts(folder: BuildFolder) -> dict[str, bytes]:
    """What has to be the same whatever happened on the way."""
    paths = [folder.labels / "teacher_labels.safetensors", folder.supernet / "model.safetensors"]
    for found in read_build(folder.root).detectors:
        cap = found.latency_cap_ms
        trained = folder.detector(found.training_cap_ms) / "model.safetensors"
        paths += [folder.subnet(cap, len(CAPS_MS)), trained, folder.model(cap)]
        paths += [folder.evaluation(cap, of) / "detections.json" for of in ("float", "int8")]
    return {folder.relative(path): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def built(tiny_root, teacher, tmp_path_factory) -> BuildFolder:
    """An uninterrupted build with a teacher."""
    folder = BuildFolder(tmp_path_factory.mktemp("built") / "x")
    build(tiny_build(tiny_root, folder.root, teacher=teacher), progress=False)
    return folder


@pytest.mark.slow
@pytest.mark.tflite
def test_every_cap_gets_a_file_that_keeps_it_and_a_page(built):
    record = read_build(built.root)
    assert [found.latency_cap_ms for found in record.detectors] == list(CAPS_MS)
    for found in record.detectors:
        manifest = read_manifest(built.root / found.model)
        assert found.at_most_ms == manifest.latency.mean_ms + manifest.latency.error_ms <= found.latency_cap_ms
        assert found.int8_ap == manifest.accuracy.after.AP
        assert found.float_ap == manifest.accuracy.before.AP
        assert found.bytes == (built.root / found.model).stat().st_size
        assert (built.root / found.submission / "MODEL_CARD.md").is_file()
    assert "Detectors under 22 ms and 30 ms" in (built.root / "report.html").read_text()
    assert [entry.name for entry in record.stages][:5] == ["inspection", "plan", "labels", "supernet", "search"]
    warned = [warning for entry in record.stages for warning in entry.warnings]
    assert any(" finds next to nothing, AP 0." in warning for warning in warned)


@pytest.mark.slow
@pytest.mark.tflite
def test_a_stage_can_be_repeated_by_its_command(built, tmp_path, monkeypatch):
    commands = (built.root / "commands.txt").read_text().splitlines()
    (line,) = (line for line in commands if line.startswith("ofa-det train") and "detector_22ms" in line)
    _, name, *words = shlex.split(line.replace("$AGAIN/detector_22ms", str(tmp_path / "again")))
    words = [word.replace("$AGAIN", str(built.root)) for word in words]
    assert import_module(f"ofa_det.cli.{COMMANDS[name][0]}").main(words) == 0
    again = (tmp_path / "again/model.safetensors").read_bytes()
    assert again == (built.detector(22.0) / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.tflite
@pytest.mark.timeout(1800)
def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(built, tiny_root, teacher, tmp_path):
    folder = BuildFolder(tmp_path / "x")
    lengths = [f"--{name}={value}" for name, value in LENGTHS.items()]
    caps = [f"--latency_cap_ms={cap}" for cap in CAPS_MS]
    command = [
        sys.executable,
        "-m",
        "ofa_det.cli.main",
        "build",
        str(tiny_root),
        "--config",
        "quickstart",
        *caps,
        *lengths,
    ]
    command += [f"--teacher={teacher}", "--resolutions=[160]", "--least_ap=0", "--output", str(folder.root), "--resume"]
    rng, kills = random.Random(0), 0
    for _ in range(40):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            # Starting takes some seconds, in which there is nothing to interrupt; all of it takes 15 on quiet cores.
            _, error = process.communicate(timeout=4 + rng.random() * 5 if kills < 8 else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, error.decode()
        break
    assert kills >= 2
    assert artefacts(folder) == artefacts(built)


@pytest.mark.slow
@pytest.mark.tflite
def test_one_cap_that_the_whole_network_comes_close_to_needs_no_supernet(tiny_root, tmp_path):
    options = {"latency_cap_ms": (30.0,), "way": "single", "recipe": {"single": "quickstart"}}
    result = build(tiny_build(tiny_root, tmp_path / "x", **options), progress=False)
    assert not result.record.elastic
    assert not (tmp_path / "x/supernet").exists()
    assert not (tmp_path / "x/search").exists()
    (found,) = result.record.detectors
    assert read_manifest(tmp_path / "x" / found.model).network.subnet.resolution == 160
    assert "Search, AP" not in result.report.read_text()


def test_speed_is_measured_and_leaves_nothing(tiny_root, tiny_space_file, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    config = read_config(
        TrainConfig,
        "train/quickstart",
        data={"root": str(tiny_root)},
        space=str(tiny_space_file),
        schedule={"batch_size": 4},
        num_workers=0,
    )
    caplog.set_level("INFO", logger="ofa_det")
    assert 0.1 < training_speed(config, steps=2) < 10_000
    assert caplog.messages == []
    assert logging.getLogger("ofa_det").level == logging.INFO
    assert not list(tmp_path.iterdir())
