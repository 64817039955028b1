import dataclasses
from pathlib import Path

import pytest

from ofa_det.artefacts.build_record import BuildRecord, BuiltDetector
from ofa_det.artefacts.configs import read_config
from ofa_det.building.config import BuildConfig
from ofa_det.building.run import BuildResult
from ofa_det.cli.build_det import main, printed, table
from ofa_det.cli.command import command
from ofa_det.data.splits import DataConfig


def parsed(*argv: str) -> BuildConfig:
    """The config that the command would run with."""
    seen: list[BuildConfig] = []
    taken = command("build", "", BuildConfig, seen.append, paths={"DATA": "--data.root"}, presets="build")
    assert taken(argv) == 0
    return seen[0]


@pytest.mark.parametrize(
    "caps",
    [
        ("--latency_cap_ms", "40", "--latency_cap_ms", "80"),
        ("--latency_cap_ms=40", "--latency_cap_ms", "80"),
        ("--latency_cap_ms", "[40, 80]"),
    ],
)
def test_several_caps(caps):
    config = parsed("DATA", *caps, "--output", "runs/x")
    assert config == BuildConfig(data=DataConfig(root="DATA"), latency_cap_ms=(40.0, 80.0), output="runs/x")


def test_one_cap_and_a_preset_whose_data_the_path_replaces():
    config = parsed("DATA", "--config", "quickstart", "--latency_cap_ms", "25")
    assert (config.data.root, config.latency_cap_ms, config.hours) == ("DATA", (25.0,), None)
    assert config.recipe.supernet == "quickstart"


def test_the_default_preset_is_what_a_build_without_one_does():
    written = read_config(BuildConfig, "build/default")
    assert written == BuildConfig(data=written.data, latency_cap_ms=written.latency_cap_ms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["DATA"], "latency_cap_ms"),
        (["DATA", "--latency_cap_ms", "0"], "latency_cap_ms above 0"),
        (["DATA", "--latency_cap_ms", "40", "--latency_cap_ms", "40"], "different latency_cap_ms"),
        (["DATA", "--latency_cap_ms", "40", "--hours", "0"], "expected hours > 0"),
        (["DATA", "--latency_cap_ms", "40", "--way", "short"], "way"),
        (["NOWHERE", "--latency_cap_ms", "40"], "found nothing at NOWHERE"),
    ],
)
def test_mistakes_are_one_line(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*options, "--output", str(tmp_path / "x")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("ofa-det build: error: ")
    assert message in line


def test_a_folder_with_a_build_is_refused(tmp_path, tiny_root, capsys):
    (tmp_path / "build.jsonl").write_text('{"schema_version": 2, "identity": {}}\n{"stage": "plan"}\n')
    assert main([str(tiny_root), "--latency_cap_ms", "40", "--output", str(tmp_path)]) == 2
    assert f"expected a new --output, found a build in {tmp_path}; pass --resume" in capsys.readouterr().err


def test_a_start_that_came_to_nothing_does_not_take_the_folder(tmp_path, capsys):
    words = ["--latency_cap_ms", "40", "--output", str(tmp_path / "x")]
    for root in ("NOWHERE", "NOR HERE"):
        assert main([str(tmp_path / root), *words]) == 2
        assert f"found nothing at {tmp_path / root}" in capsys.readouterr().err


def test_the_table_has_a_line_for_every_file():
    built = BuiltDetector(
        latency_cap_ms=40.0,
        float_ap=0.523,
        int8_ap=0.515,
        latency_ms=36.7,
        latency_error_ms=2.8,
        at_most_ms=39.5,
        runtime="tflite-2019-v3",
        host_ms=9.1,
        bytes=1_650_000,
        model="export_40ms/model.tflite",
        submission="submissions/x_40ms_51.5",
    )
    record = BuildRecord(
        machine="m", data_root="DATA", safety=1.0, elastic=True, notes=(), stages=(), seconds=1.0,
        detectors=(built, dataclasses.replace(built, latency_cap_ms=80.0)),
    )  # fmt: skip
    _, first, second, _ = table(record).splitlines()
    assert first.split()[:5] == ["40", "ms", "51.5", "52.3", "36.7"]
    assert "39.5 ms" in first
    assert second.split()[0] == "80"
    found = printed(BuildResult(record=record, report=Path("x/report.html")))
    assert found.text.endswith("1 s in all; the page is x/report.html")
    assert found.values["detectors"][1]["latency_cap_ms"] == 80.0
    assert found.values["report"] == "x/report.html"
