import hashlib
import json

import pytest
import torch

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.search_space import SearchSpace
from ofa_det.cli import detect, eval_det
from ofa_det.data.generated import CATEGORIES, generate_dataset
from ofa_det.data.images import read_image
from ofa_det.evaluation.metrics import NAMES
from ofa_det.models.detector import Detector
from ofa_det.models.run_folder import ModelDescription, save_model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate_dataset(tmp_path_factory.mktemp("shapes"), num_train=1, num_val=3, image_size=(96, 128))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    detector = Detector(DetectorConfig(num_classes=len(CATEGORIES)), SearchSpace().smallest(64))
    folder = tmp_path_factory.mktemp("run")
    description = ModelDescription(detector=detector.config, architecture=detector.subnet, categories=CATEGORIES)
    save_model(folder, description, detector.state_dict())
    return folder


def test_eval_writes_metrics_and_detections(model, data, tmp_path, capsys):
    arguments = ["--model", str(model), "--data.root", str(data), "--output", str(tmp_path / "out")]
    assert eval_det.main(arguments) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert set(NAMES) < set(metrics)
    assert metrics["images"] == 3
    assert metrics["model"] == str(model)
    assert metrics["model_sha256"] == hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    detections = json.loads((tmp_path / "out/detections.json").read_text())
    assert len(detections) == metrics["detections"]
    assert all(set(entry) == {"image_id", "category_id", "bbox", "score"} for entry in detections)
    table = capsys.readouterr().out
    assert "AP50" in table
    assert "triangle" in table


def test_eval_mistakes_are_one_line(model, data, tmp_path, capsys):
    assert eval_det.main(["--model", "none.tflite", "--data.root", str(data)]) == 2
    assert eval_det.main(["--model", str(model), "--data.root", str(tmp_path / "none")]) == 2
    assert eval_det.main(["--model", str(model), "--data.root", str(data), "--split", "test"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 3


def test_detect_draws_and_lists(model, data, tmp_path, capsys):
    image, output = data / "val2017/000001.jpg", tmp_path / "out.png"
    arguments = ["--model", str(model), "--image", str(image), "--output", str(output), "--score_threshold", "0.001"]
    assert detect.main(arguments) == 0
    assert read_image(output).shape == (96, 128, 3)
    assert f"drawn in {output}" in capsys.readouterr().out


def test_detect_mistakes_are_one_line(model, data, tmp_path, capsys):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"x")
    assert detect.main(["--model", str(model), "--image", str(broken)]) == 2
    assert detect.main(["--model", str(model), "--image", str(tmp_path / "none.jpg")]) == 2
    assert detect.main(["--model", str(model), "--image", str(broken), "--score_threshold", "2"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert "expected a readable image" in lines[0]
