"""What a wheel holds."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    for name in ("ofa_det", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
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

    subnet = ["--model", "r192 k3e1 k3e3 k3e3 k3e3 k3e3 k3e3", "--space", "ssdlite_mbv3_tiny"]
    command = [sys.executable, "-m", "ofa_det.cli.main", "predict-latency", *subnet]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(unpacked)}, capture_output=True, text=True, check=True
    )
    assert " ms ± " in done.stdout
