import json

import pytest

from ofa_det.artefacts.build_record import read_build
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
    # As little as makes a file whose AP is worth packaging.
    small = ["--num_train", "64", "--num_val", "8", "--train_images", "480", "--finetune_images", "960"]
    assert main(["--output", str(folder), *small]) == 0
    record, model = read_build(folder), folder / "export_30ms/model.tflite"
    (built,) = record.detectors
    manifest = read_manifest(model)
    assert built.latency_ms == manifest.latency.mean_ms <= built.at_most_ms <= 30
    assert built.int8_ap == manifest.accuracy.after.AP
    assert built.float_ap == manifest.accuracy.before.AP
    assert built.bytes == manifest.model.bytes
    assert (folder / "search/pareto.png").is_file()
    assert len(list((folder / "submissions").iterdir())) == 1
    shown = capsys.readouterr()
    assert f"ofa-det build {folder / 'data'} --config quickstart --latency_cap_ms 30" in shown.err
    assert shown.out.endswith(f"the page is {folder / 'report.html'}\n")
    assert main(["--output", str(folder), *small, "--resume", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["detectors"][0]["int8_ap"] == built.int8_ap
    assert again["report"] == str(folder / "report.html")
