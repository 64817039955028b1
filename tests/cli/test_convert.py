import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ofa_det.cli.convert_data import main
from ofa_det.cli.export_det import main as export
from ofa_det.cli.main import main as ofa_det
from ofa_det.cli.train_det import main as train

VOC = (
    "<annotation><size><width>96</width><height>64</height></size><object><name>fox</name>"
    "<bndbox><xmin>{x}</xmin><ymin>11</ymin><xmax>{right}</xmax><ymax>50</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def foxes(tmp_path):
    """Pictures of one animal in VOC format."""
    root = tmp_path / "foxes"
    root.mkdir()
    for number in range(12):
        picture = Image.new("RGB", (96, 64), (30, 120, 40))
        picture.paste((200, 90, 20), (10 + number, 10, 50 + number, 50))
        picture.save(root / f"{number}.jpg")
        (root / f"{number}.xml").write_text(VOC.format(x=11 + number, right=50 + number))
    return root


def test_it_prints_what_came_of_it_and_what_is_next(foxes, tmp_path, capsys):
    output = tmp_path / "data"
    (foxes / "broken.xml").write_text("<annotation>")
    assert main([str(foxes), "--output", str(output), "--val_fraction", "0.25"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == f"{foxes}: voc to coco, divided by val_fraction 0.25, seed 0"
    assert [line.split() for line in lines[2:4]] == [["train", "9", "0", "9", "0"], ["val", "3", "0", "3", "0"]]
    assert lines[5].split() == ["fox", "9", "3"]
    assert lines[6] == f"wrote {output}: 12 images linked, 0 copied"
    assert lines[7:] == [
        f"next: ofa-det inspect {output}",
        f"      ofa-det build {output} --latency_cap_ms 80",
    ]
    # Counted, named, and in the record.
    assert "WARNING: foxes: 1 files that are no VOC XML left out (broken.xml)" in printed.err
    (problem,) = json.loads((output / "conversion.json").read_text())["problems"]
    assert (problem["kind"], problem["count"]) == ("files that are no VOC XML left out", 1)


def test_the_source_is_the_first_word_or_an_option(foxes, tmp_path):
    assert ofa_det(["convert", "--source", str(foxes), "--output", str(tmp_path / "a"), "--to", "yolo"]) == 0
    assert (tmp_path / "a/data.yaml").is_file()
    assert ofa_det(["convert", str(tmp_path / "a"), "--output", str(tmp_path / "b"), "--copy_images"]) == 0
    assert (tmp_path / "b/annotations/instances_val2017.json").is_file()


def test_a_mistake_is_one_line(foxes, tmp_path, capsys):
    for words, message in (
        ([str(tmp_path / "nowhere")], "expected the folder of a data set, found nothing at"),
        ([str(foxes), "--val_fraction", "2"], "expected 0 < val_fraction < 1, found 2.0"),
        ([str(foxes), "--format", "tfrecord"], "tfrecord"),
        ([], "source"),
    ):
        assert main([*words, "--output", str(tmp_path / "data")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_pictures_in_voc_format_are_a_file_after_three_commands(foxes, tmp_path, tiny_space_file):
    data, run, exported = (str(tmp_path / name) for name in ("data", "det", "export"))
    assert main([str(foxes), "--output", data]) == 0
    options = {
        "data.root": data,
        "output": run,
        "space": tiny_space_file,
        "subnet": "r64 k3e1 k3e3 k3e3 k3e3 k3e3 k3e3",
        "anchors.count": 2,
        "schedule.num_images": 4,
        "schedule.batch_size": 2,
        "schedule.warmup_images": 2,
        "num_workers": 0,
        "calibration_images": 2,
        "accelerator": "cpu",
    }
    assert train([word for name, value in options.items() for word in (f"--{name}", str(value))]) == 0
    assert export(["--model", run, "--data.root", data, "--format", "onnx", "--output", exported]) == 0
    assert (tmp_path / "export/model.onnx").is_file()


@pytest.mark.parametrize("limit_bytes", [40, 400])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, limit_bytes):
    """Files may not grow beyond a few bytes, as on a disk that is nearly full."""
    pictures, data = tmp_path / "pictures", tmp_path / "data"
    pictures.mkdir()
    (pictures / "classes.txt").write_text("cell\n")
    for number in range(6):
        Image.new("L", (8, 6), 40 * number).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    script = (
        "import resource, sys; from ofa_det.cli.convert_data import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, resource.RLIM_INFINITY)); "
        f"sys.exit(main([{str(pictures)!r}, '--output', {str(data)!r}]))"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if "error: " in line)
    assert line.startswith("ofa-det convert: error: expected room to write ")
    assert "File too large; free some or choose another --output" in line
    assert not data.exists()
