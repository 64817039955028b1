import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.files import read_json
from ofa_det.arch.search_space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.cli.search_det import main
from ofa_det.data.generated import CATEGORIES, generate_dataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.candidate_scoring import CandidateScorer
from ofa_det.evaluation.scoring import evaluate
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.calibration import calibrate_batch_norm, calibration_batches
from ofa_det.models.extraction import extract
from ofa_det.models.run_folder import ModelDescription, load_supernet, save_model
from ofa_det.models.supernet import Supernet

RESULT_FILES = ("evaluations.jsonl", "subnet.json", "pareto.csv", "pareto.png")
SPACE = SearchSpace(resolutions=(64, 96), depths=(1, 2), expand_ratios=(3, 4), kernel_sizes=(3, 5))
CAP_MS = 8.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_dataset(tmp_path_factory.mktemp("data"), num_train=12, num_val=1, image_size=(96, 128))


@pytest.fixture(scope="module")
def supernet(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_supernet(tmp_path_factory.mktemp("supernet"), data)


def save_supernet(folder: Path, data: Path, holdout_fraction: float = 0.5) -> Path:
    fit = open_split(DataConfig(root=str(data), holdout_fraction=holdout_fraction), "fit")
    torch.manual_seed(0)
    network = Supernet(DetectorConfig(num_classes=len(CATEGORIES)), SPACE)
    description = ModelDescription(
        detector=network.config,
        architecture=SPACE,
        categories=CATEGORIES,
        holdout_fraction=holdout_fraction,
        training_images=fit.fingerprint(),
    )
    save_model(folder, description, network.state_dict())
    return folder


def arguments(data: Path, supernet: Path, output: Path, *more: str) -> list[str]:
    options = {
        "supernet": supernet,
        "data.root": data,
        "latency_cap_ms": CAP_MS,
        "calibration_images": 4,
        "evolution.population": 4,
        "evolution.generations": 1,
        "output": output,
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))] + list(more)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULT_FILES}


@pytest.fixture(scope="module")
def finished(data: Path, supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("search") / "whole"
    assert main(arguments(data, supernet, output)) == 0
    return output


def test_search_writes_a_subnet_of_the_space_under_the_cap(finished: Path) -> None:
    best = read_json(finished / "subnet.json")
    assert SubnetConfig.from_json(best) in SPACE
    assert 0 < best["latency_ms"] <= CAP_MS
    assert 0 < best["latency_error_ms"] < best["latency_ms"]
    assert best["precision"] == "uint8"
    assert len((finished / "pareto.csv").read_text().splitlines()) == 1 + 8
    assert len((finished / "evaluations.jsonl").read_text().splitlines()) == 1 + 8


def test_score_equals_the_evaluation_of_the_extracted_detector(data: Path, supernet: Path) -> None:
    trained = load_supernet(supernet)
    config = DataConfig(root=str(data), holdout_fraction=0.5)
    fit, holdout = open_split(config, "fit"), open_split(config, "holdout")
    scorer = CandidateScorer(
        trained.supernet, trained.categories, calibration=fit, calibration_images=5, holdout=holdout
    )
    for subnet in (SPACE.smallest(), SPACE.largest(), SPACE.smallest()):
        detector = extract(trained.supernet, subnet)
        calibrate_batch_norm(detector, calibration_batches(fit, subnet.resolution, num_images=5))
        assert scorer(subnet) == evaluate(TorchDetector(detector, trained.categories), holdout).ap


def test_search_killed_anywhere_resumes_to_the_same_files(
    data: Path, supernet: Path, finished: Path, tmp_path: Path
) -> None:
    whole = (finished / "evaluations.jsonl").read_bytes()
    output = tmp_path / "killed"
    output.mkdir()
    header = whole.index(b"\n") + 1
    (output / "evaluations.jsonl").write_bytes(whole[: random.Random(0).randrange(header, len(whole))])
    assert main(arguments(data, supernet, output, "--resume")) == 0
    assert content(output) == content(finished)


def test_search_continues_with_a_larger_budget(data: Path, supernet: Path, finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "longer"
    assert main(arguments(data, supernet, output, "--evolution.max_evaluations", "3")) == 0
    assert main(arguments(data, supernet, output, "--resume")) == 0
    assert content(output) == content(finished)


def error_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_existing_output_needs_resume(
    data: Path, supernet: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(finished)
    assert "pass --resume or another --output" in error_line(arguments(data, supernet, finished), capsys)
    assert content(finished) == before


def test_record_of_another_search_is_not_continued(
    data: Path, supernet: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(data, supernet, finished, "--resume", "--seed", "1")
    assert "with seed 1, found 0" in error_line(argv, capsys)


def test_infeasible_cap_names_the_smallest_latency_and_leaves_no_record(
    data: Path, supernet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_line(arguments(data, supernet, tmp_path / "out", "--latency_cap_ms", "0.5"), capsys)
    assert "expected a latency cap of at least" in line
    assert "found 0.5 ms" in line
    assert not (tmp_path / "out").exists()


def test_supernet_without_holdout_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_supernet(tmp_path / "supernet", data, holdout_fraction=0.0)
    assert "holdout_fraction above 0, found 0" in error_line(arguments(data, folder, tmp_path / "out"), capsys)


def test_images_that_may_have_been_trained_on_score_nothing(
    data: Path, supernet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(data, supernet, tmp_path / "out", "--data.limit", "8")
    assert "held-out images may have been trained on" in error_line(argv, capsys)


def recorded(output: Path) -> int:
    path = output / "evaluations.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_five_kills_at_random_moments(data: Path, supernet: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    budget = ("--evolution.population", "10", "--evolution.generations", "3")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(arguments(data, supernet, whole, *budget)) == 0
    code = "import sys; from ofa_det.cli.search_det import main; raise SystemExit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments(data, supernet, killed, *budget, "--resume")]
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
