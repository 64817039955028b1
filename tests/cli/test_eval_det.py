import json
import shutil

import pytest

from ofa_det.artefacts.manifest import EvaluationRecord
from ofa_det.artefacts.records import read_record
from ofa_det.cli.eval_det import main


@pytest.fixture
def arguments(detector_folder, tiny_root, tmp_path):
    return ["--model", str(detector_folder), "--data.root", str(tiny_root), "--output", str(tmp_path / "out")]


def test_it_prints_a_table_of_what_it_writes(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    record = read_record(tmp_path / "out/metrics.json", EvaluationRecord)
    detections = json.loads((tmp_path / "out/detections.json").read_text())
    assert (record.images, len(detections)) == (3, record.detections)
    heading, names, numbers, *_, triangle, _, written = capsys.readouterr().out.splitlines()
    assert "on 3 val images of" in heading
    assert numbers.split()[names.split().index("AP50")] == f"{100 * record.AP50:.1f}"
    assert triangle.split()[0] == "triangle"
    assert written == f"written to {tmp_path / 'out'}"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "none.tflite"], "found nothing at none.tflite"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--split", "test"], "split"),
        (["--accelerator", "abacus"], "found 'abacus'"),
        (["--device", "cpu"], "device"),
        (["--subnet", "r64 k3e1"], "expected --subnet with the run folder of a supernet"),
    ],
)
def test_a_mistake_is_one_line(arguments, tmp_path, capsys, more, words):
    assert main([*arguments, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ofa-det eval: error: ")
    assert words in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("damage", "words"), [("[1, 2", "expected JSON in"), ('{"images": 3}', "annotations")])
def test_a_broken_annotation_file_is_one_line(arguments, tiny_root, tmp_path, capsys, damage, words):
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    (root / "annotations/instances_val2017.json").write_text(damage)
    assert main([*arguments, "--data.root", str(root)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "instances_val2017.json" in line
    assert words in line
