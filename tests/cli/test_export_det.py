import pytest

from ofa_det.artefacts.manifest import read_manifest
from ofa_det.artefacts.model_file import read_description
from ofa_det.cli import package_submission, predict_latency
from ofa_det.cli.export_det import main
from ofa_det.latency.tflite_file import read_tflite


@pytest.fixture(scope="module")
def exported(detector_folder, tiny_root, tmp_path_factory):
    output = tmp_path_factory.mktemp("export")
    words = ["--model", str(detector_folder), "--data.root", str(tiny_root), "--output", str(output)]
    assert main([*words, "--calibration_images", "8", "--compared_images", "2"]) == 0
    return output / "model.tflite"


@pytest.mark.tflite
def test_the_model_card_counts_what_is_in_the_file(exported, detector_folder, tiny_root, tmp_path, capsys):
    """The categories have gaps, whose unused class columns count."""
    words = ["--model", str(exported), "--name", "duck", "--data.root", str(tiny_root), "--output", str(tmp_path)]
    assert package_submission.main([*words, "--least_ap", "0"]) == 0  # Untrained, it finds nothing.
    (folder,) = tmp_path.iterdir()
    network, manifest = read_tflite(exported), read_manifest(exported)
    parameters = sum(layer.parameters for layer in network.layers)
    description = read_description(detector_folder)
    assert description.columns().has_unused
    plan = description.shipped_plan(description.subnet)
    assert (plan.macs, plan.parameters) == (network.macs, parameters)
    assert (manifest.network.macs, manifest.network.parameters) == (network.macs, parameters)
    counts = f"{network.macs / 1e6:.1f} M multiply-accumulates and {parameters / 1e6:.2f} M parameters"
    assert counts in (folder / "MODEL_CARD.md").read_text()
    printed = capsys.readouterr().out
    assert f"{folder}: OVIC's interface is kept" in printed
    assert f"predicted {manifest.latency.mean_ms:.1f} ms ± {manifest.latency.error_ms:.1f} ms" in printed


@pytest.mark.tflite
def test_run_folder_and_file_have_the_same_latency(exported, detector_folder, capsys):
    outs = []
    for model in (detector_folder, exported):
        assert predict_latency.main(["--model", str(model)]) == 0
        outs.append(capsys.readouterr().out.splitlines()[:3])
    assert outs[0] == outs[1]


@pytest.mark.tflite
def test_what_is_printed(exported, capsys, detector_folder, tiny_root):
    manifest = read_manifest(exported)
    words = ["--model", str(detector_folder), "--data.root", str(tiny_root), "--output", str(exported.parent)]
    assert main([*words, "--calibration_images", "8", "--compared_images", "2"]) == 0
    size, accuracy, latency = capsys.readouterr().out.splitlines()
    assert size == f"{exported}: {manifest.model.bytes / 1e6:.2f} MB"
    assert accuracy.startswith(
        f"AP {100 * manifest.accuracy.before.AP:.1f} before, {100 * manifest.accuracy.after.AP:.1f} after"
    )
    assert latency.startswith(f"predicted {manifest.latency.mean_ms:.1f} ms ± {manifest.latency.error_ms:.1f} ms")
    assert read_manifest(exported) == manifest


@pytest.mark.tflite
def test_an_export_that_is_not_measured_says_so(detector_folder, tiny_root, tmp_path, capsys):
    words = ["--model", str(detector_folder), "--data.root", str(tiny_root), "--output", str(tmp_path)]
    options = ["--verify", "none", "--format", "tflite-float16", "--classes", "compact", "--compared_images", "1"]
    assert main([*words, *options]) == 0
    _, accuracy, latency = capsys.readouterr().out.splitlines()
    assert accuracy == "AP was not measured (--verify none)"
    assert "float32" in latency


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "none"], "expected a run folder"),
        (["--format", "tflite"], "format"),
        (["--calibration_images", "0"], "calibration_images >= 1"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--quantize", "true"], "quantize"),
        (["--format", "tflite-int8-qat"], "expected quantization.json of a quantization-aware training"),
        (["--format", "tflite-float32", "--input_type", "uint8"], "expected input_type float32 of tflite-float32"),
        (["--ending.score_threshold", "0"], "expected a score_threshold > 0"),
        (["--ending.max_classes_per_detection", "3"], "expected max_classes_per_detection 1 with regular_nms"),
        (["--config", "none"], "expected a YAML file or one of ovic, found 'none'"),
    ],
)
def test_a_mistake_is_one_line(detector_folder, tiny_root, tmp_path, capsys, more, words):
    options = ["--model", str(detector_folder), "--data.root", str(tiny_root), "--output", str(tmp_path / "out")]
    assert main([*options, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ofa-det export: error: ")
    assert words in line
    assert not (tmp_path / "out").exists()
