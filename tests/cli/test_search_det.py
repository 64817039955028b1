import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from saved_supernets import write_supernet

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.evaluations import ChosenSubnet
from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.records import read_record
from ofa_det.cli.search_det import main
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.latency.model import latency_model
from ofa_det.latency.postprocessing import detection_tail

RESULT_FILES = ("evaluations.jsonl", "subnet.json", "search.json", "pareto.csv", "pareto.png", "search_curve.png")
CAP_MS = 8.0
SaveSupernet = Callable[..., Path]
Arguments = Callable[..., list[str]]


@pytest.fixture(scope="module")
def save_supernet(tiny_root: Path, tiny_space: SearchSpace) -> SaveSupernet:
    """Writes the run folder of an untrained supernet."""

    def save(folder: Path, holdout_fraction: float = 0.5) -> Path:
        fit = open_split(DataConfig(root=str(tiny_root), holdout_fraction=holdout_fraction), "fit")
        torch.manual_seed(0)
        description = ModelDescription(
            detector=DetectorConfig.of(tiny_space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes()),
            subnet=None,
            categories=CATEGORIES,
            postprocess=PostProcessConfig(),
            holdout_fraction=holdout_fraction,
            training_images=fit.fingerprint(),
        )
        write_supernet(folder, description)
        return folder

    return save


@pytest.fixture(scope="module")
def supernet(save_supernet: SaveSupernet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_supernet(tmp_path_factory.mktemp("supernet"))


@pytest.fixture(scope="module")
def arguments(tiny_root: Path) -> Arguments:
    """Makes the words of a short search into a folder."""

    def make(supernet: Path, output: Path, *more: str) -> list[str]:
        options = {
            "supernet": supernet,
            "data.root": tiny_root,
            "latency_cap_ms": CAP_MS,
            "calibration_images": 4,
            "strategy": "evolution",
            "baselines": "false",
            "rescore.candidates": 2,
            "rescore.calibration_images": 4,
            "rescore.resamples": 5,
            "evolution.population": 4,
            "evolution.generations": 1,
            "output": output,
        }
        return [word for name, value in options.items() for word in (f"--{name}", str(value))] + list(more)

    return make


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULT_FILES}


@pytest.fixture(scope="module")
def finished(arguments: Arguments, supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("search") / "whole"
    assert main(arguments(supernet, output)) == 0
    return output


def test_search_writes_a_subnet_of_the_space_under_the_cap(
    finished: Path, supernet: Path, tiny_space: SearchSpace
) -> None:
    best = read_record(finished / "subnet.json", ChosenSubnet)
    assert best.subnet in tiny_space
    plan = read_description(supernet).shipped_plan(best.subnet)
    tail = detection_tail(plan, PostProcessConfig(), precision="uint8")
    assert best.latency_ms == latency_model(precision="uint8").predict(plan.layers, tail).mean_ms <= CAP_MS
    assert 0 < best.latency_error_ms < best.latency_ms
    assert (best.device, best.precision) == ("pixel2", "uint8")
    assert len((finished / "pareto.csv").read_text().splitlines()) == 1 + 9
    assert len((finished / "evaluations.jsonl").read_text().splitlines()) == 1 + 9


def test_search_prints_what_it_found(
    arguments: Arguments, supernet: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(supernet, tmp_path / "again")) == 0
    best = read_record(finished / "subnet.json", ChosenSubnet)
    first, second, third, *_, last = capsys.readouterr().out.splitlines()
    assert first == str(best.subnet)
    assert f"{best.latency_ms:.1f} ms ± {best.latency_error_ms:.1f} ms on pixel2" in second
    assert f"at most {best.at_most_ms:.1f} ms, 1 standard error(s) above" in second
    assert f"AP {100 * best.ap:.1f} ± {100 * best.ap_error:.1f} on 3 other held-out training images" in third
    assert last == f"written to {tmp_path / 'again'}"
    assert (tmp_path / "again/report.html").read_text().startswith("<!DOCTYPE html>")
    assert content(tmp_path / "again") == content(finished)


def test_search_killed_anywhere_resumes_to_the_same_files(
    arguments: Arguments, supernet: Path, finished: Path, tmp_path: Path
) -> None:
    whole = (finished / "evaluations.jsonl").read_bytes()
    output = tmp_path / "killed"
    output.mkdir()
    header = whole.index(b"\n") + 1
    (output / "evaluations.jsonl").write_bytes(whole[: random.Random(0).randrange(header, len(whole))])
    fresh = tmp_path / "supernet"
    shutil.copytree(supernet, fresh, ignore=shutil.ignore_patterns("measured_ap"))
    assert main(arguments(fresh, output, "--resume")) == 0
    assert content(output) == content(finished)


def test_search_continues_with_a_larger_budget(
    arguments: Arguments, supernet: Path, finished: Path, tmp_path: Path
) -> None:
    output = tmp_path / "longer"
    assert main(arguments(supernet, output, "--max_evaluations", "3")) == 0
    assert main(arguments(supernet, output, "--resume")) == 0
    assert content(output) == content(finished)


@pytest.mark.parametrize(
    ("caps", "names"),
    [
        (("8", "--latency_cap_ms", "12"), {"subnet_8ms.json", "subnet_12ms.json"}),
        (("[12, 8]",), {"subnet_8ms.json", "subnet_12ms.json"}),
        (("[9]",), {"subnet.json"}),
    ],
)
def test_caps_are_given_one_by_one_or_as_a_list(
    arguments: Arguments, supernet: Path, tmp_path: Path, caps: tuple[str, ...], names: set[str]
) -> None:
    words = arguments(supernet, tmp_path / "out")
    position = words.index("--latency_cap_ms")
    assert main([*words[: position + 1], *caps, *words[position + 2 :]]) == 0
    assert {path.name for path in (tmp_path / "out").glob("subnet*.json")} == names


def error_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_existing_output_needs_resume(
    arguments: Arguments, supernet: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(finished)
    assert "pass --resume or another --output" in error_line(arguments(supernet, finished), capsys)
    assert content(finished) == before


def test_record_of_another_search_is_not_continued(
    arguments: Arguments, supernet: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_line(arguments(supernet, finished, "--resume", "--seed", "1"), capsys)
    assert "expected seed 1 in " in line
    assert "found 0; choose another --output" in line


def test_infeasible_cap_names_the_smallest_latency_and_leaves_no_record(
    arguments: Arguments, supernet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_line(arguments(supernet, tmp_path / "out", "--latency_cap_ms", "0.5"), capsys)
    assert "expected a latency cap of at least" in line
    assert "found 0.5 ms" in line
    assert not (tmp_path / "out").exists()


def test_supernet_without_holdout_is_refused(
    arguments: Arguments, save_supernet: SaveSupernet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_supernet(tmp_path / "supernet", holdout_fraction=0.0)
    assert "holdout_fraction above 0, found 0" in error_line(arguments(folder, tmp_path / "out"), capsys)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        # Images that may have been trained on score nothing.
        (("--data.limit", "8"), "held-out images may have been trained on"),
        (("--data.holdout_fraction", "0.2"), "expected data.holdout_fraction 0.5"),
        (("--supernet", "nowhere"), "expected a run folder"),
        (("--device", "pixel9"), "expected a device of pixel2, found 'pixel9'"),
        (("--runtime", "tflite-1999"), "found 'tflite-1999'"),
        (("--precision", "int4"), "precision"),
        (("--accelerator", "abacus"), "found 'abacus'"),
        (("--evolution.parents", "3"), "evolution.parents"),
        (("--latency_cap_ms", "fast"), "latency_cap_ms"),
        (("--config", "pixel9"), "expected a YAML file or one of pixel2, quickstart, found 'pixel9'"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: Arguments,
    supernet: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    words: str,
) -> None:
    line = error_line(arguments(supernet, tmp_path / "out", *more), capsys)
    assert line.startswith("ofa-det search: error: ")
    assert words in line
    assert not (tmp_path / "out").exists()


def recorded(output: Path) -> int:
    path = output / "evaluations.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_five_kills_at_random_moments(arguments: Arguments, supernet: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    budget = ("--evolution.population", "10", "--evolution.generations", "3")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(arguments(supernet, whole, *budget)) == 0
    fresh = tmp_path / "supernet"  # Nothing is measured yet.
    shutil.copytree(supernet, fresh, ignore=shutil.ignore_patterns("measured_ap"))
    code = "import sys; from ofa_det.cli.search_det import main; raise SystemExit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments(fresh, killed, *budget, "--resume")]
    for _ in range(5):
        before = recorded(killed)
        process = subprocess.Popen(command)
        while recorded(killed) <= before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert main(command[3:]) == 0
    assert content(killed) == content(whole)
