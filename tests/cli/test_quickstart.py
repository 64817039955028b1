import pytest

from ofa_det.artefacts.files import read_json
from ofa_det.artefacts.manifest import read_manifest
from ofa_det.cli.quickstart import main


def test_a_folder_that_is_in_use_is_refused(tmp_path, capsys):
    assert main(["--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"expected a new --output, found {tmp_path}; pass --resume" in line


@pytest.mark.slow
@pytest.mark.tflite
def test_every_step_follows_from_the_one_before(tmp_path, capsys):
    folder = tmp_path / "quickstart"
    small = ["--num_train", "24", "--num_val", "4", "--train_images", "32", "--finetune_images", "32"]
    assert main(["--output", str(folder), *small]) == 0
    report, manifest = read_json(folder / "report.json"), read_manifest(folder / "export/model.tflite")
    assert report["predicted_pixel2_ms"] == manifest.latency.mean_ms <= 30
    assert report["int8_ap"] == manifest.accuracy.after.AP
    assert report["float_ap"] == manifest.accuracy.before.AP
    assert report["size_bytes"] == manifest.model.bytes
    assert (folder / "search/pareto.png").is_file()
    assert len(list((folder / "submissions").iterdir())) == 1
    out = capsys.readouterr().out
    assert "$ ofa-det search --config quickstart" in out
    assert out.endswith((folder / "report.txt").read_text())
    assert main(["--output", str(folder), *small, "--resume"]) == 0
    assert read_json(folder / "report.json")["int8_ap"] == report["int8_ap"]
