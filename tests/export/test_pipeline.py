from __future__ import annotations

import hashlib
import json

import pytest

from ofa_det.cli import export_det as cli
from ofa_det.data.splits import open_split
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import evaluate
from ofa_det.export.config import ExportConfig
from ofa_det.models.run_folder import ModelDescription, save_model
from ofa_det.submission.validation import validate_submission


@pytest.fixture(scope="module")
def run_folder(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    description = ModelDescription(
        detector=trained.detector.config, architecture=trained.detector.subnet, categories=trained.categories
    )
    save_model(folder, description, trained.detector.state_dict())
    (folder / "config.yaml").write_text("seed: 3\n")
    return folder


@pytest.mark.tflite
def test_command_writes_a_folder_that_describes_itself(run_folder, shapes_config, trained, tmp_path, capsys):
    output = tmp_path / "export"
    arguments = ["--model", str(run_folder), "--data.root", shapes_config.root, "--output", str(output)]

    assert cli.main([*arguments, "--calibration_images", "8", "--verification_images", "4"]) == 0

    assert sorted(path.name for path in output.iterdir()) == ["labels.txt", "manifest.json", "model.tflite"]
    manifest = json.loads((output / "manifest.json").read_text())
    content = (output / "model.tflite").read_bytes()
    assert manifest["model"] == {
        "file": "model.tflite",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    weights = (run_folder / "model.safetensors").read_bytes()
    assert manifest["source"]["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert manifest["source"]["config"] == {"seed": 3}
    assert manifest["input"]["quantization"] == {"scale": 1 / 128, "zero_point": 128}
    assert manifest["quantization"]["calibration_images"] == 8
    assert (output / "labels.txt").read_text().splitlines()[1] == trained.categories[0].name

    metrics = evaluate(open_predictor(output / "model.tflite"), open_split(shapes_config, "val"))
    assert manifest["accuracy"]["after"] == json.loads(json.dumps(metrics.to_json()))
    latency = manifest["latency"]
    assert latency["mean_ms"] > latency["error_ms"] > 0
    assert f"{latency['mean_ms']:.1f} ms ± {latency['error_ms']:.1f} ms" in capsys.readouterr().out
    validate_submission(output / "model.tflite").require(output)


def test_command_ends_with_one_line_on_a_missing_run_folder(shapes_config, tmp_path, capsys):
    assert cli.main(["--model", str(tmp_path / "none"), "--data.root", shapes_config.root]) == 2
    assert "expected a run folder" in capsys.readouterr().err


def test_config_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="expected a format of tflite-int8, tflite-float32, onnx, found 'tflite'"):
        ExportConfig(format="tflite")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="verification_images <= calibration_images"):
        ExportConfig(calibration_images=4, verification_images=5)
