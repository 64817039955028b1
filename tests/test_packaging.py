"""What a wheel holds."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import ofa_det

ROOT = Path(__file__).parents[1]


def test_the_packages_listed_are_the_folders_there_are() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {path.parent for path in (ROOT / "ofa_det").rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert all((folder / "__init__.py").is_file() for folder in folders)
    assert sorted(setup["options"]["packages"].split()) == sorted({*found, "ofa_det.configs"})


@pytest.mark.slow
def test_an_unpacked_wheel_works_with_its_own_configs(tmp_path: Path) -> None:
    source, wheels, unpacked = tmp_path / "source", tmp_path / "wheels", tmp_path / "unpacked"
    source.mkdir()  # A build leaves files in its source.
    copy_source(source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(wheels), str(source)], check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(unpacked)
    rooms = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"ofa_det/{path.as_posix()}" for path in rooms} <= names
    assert {"ofa_det/py.typed", "ofa_det/latency/pixel2_published.csv"} <= names
    assert not any(name.startswith(("tests/", "tools/")) for name in names)

    environment = {"PYTHONPATH": str(unpacked), "PATH": os.environ["PATH"]}
    subnet = ["--model", "r192 k3e1 k3e3 k3e3 k3e3 k3e3 k3e3", "--space", "ssdlite_mbv3_tiny"]
    for words, expected in (
        (["predict-latency", *subnet], " ms ± "),
        (["quickstart", "--help"], "--latency_cap_ms"),
        (
            ["train", "--config", "quickstart", "--print_config", "--data.root", "DATA"],
            "output: runs/quickstart/supernet",
        ),
        (["--version"], f"ofa-det {ofa_det.__version__}\n"),
    ):
        command = [sys.executable, "-m", "ofa_det.cli.main", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert expected in done.stdout


@pytest.mark.slow
def test_a_source_distribution_builds_the_same_wheel(tmp_path: Path) -> None:
    """What is in a wheel made of the sdist is what is in one made of the checkout."""
    source = tmp_path / "source"
    source.mkdir()
    copy_source(source)
    build = "from setuptools import build_meta; print(build_meta.build_sdist({!r}))"
    done = subprocess.run(
        [sys.executable, "-c", build.format(str(tmp_path))], cwd=source, check=True, capture_output=True, text=True
    )
    unpacked = tmp_path / "unpacked"
    with tarfile.open(tmp_path / done.stdout.splitlines()[-1]) as archive:
        archive.extractall(unpacked, filter="data")
    (folder,) = unpacked.iterdir()
    wheels = [wheel_names(tmp_path / name, path) for name, path in (("one", source), ("two", folder))]
    assert wheels[0] == wheels[1]


def copy_source(target: Path) -> None:
    """The parts of the repository that a build needs."""
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, target / name)
    for name in ("ofa_det", "configs"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))


def wheel_names(wheels: Path, source: Path) -> set[str]:
    """The files in a wheel of a source folder."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(wheels), str(source)], check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_image_is_made_of_what_is_there() -> None:
    """What the Dockerfile copies is in the repository and not kept from it."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for word in line.split()[1:-1]
    ]
    assert copied == ["setup.cfg", "pyproject.toml", "README.md", "LICENSE", "configs", "ofa_det"]
    assert all((ROOT / name).exists() and f"!{name}" in ignored for name in copied)
