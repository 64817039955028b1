import pytest

from ofa_det.cli.detect import main
from ofa_det.data.images import read_image


@pytest.fixture
def arguments(detector_folder, tiny_root, tmp_path):
    image, output = tiny_root / "val2017/000001.jpg", tmp_path / "out.png"
    return ["--model", str(detector_folder), "--image", str(image), "--output", str(output)]


def test_it_draws_and_lists(arguments, tmp_path, capsys):
    assert main([*arguments, "--score_threshold", "0.001"]) == 0
    assert read_image(tmp_path / "out.png").shape == (96, 128, 3)
    _, *rows, last = capsys.readouterr().out.splitlines()
    assert last == f"{len(rows)} detections, drawn in {tmp_path / 'out.png'}"
    assert len(rows) == 100
    assert {row.split()[-1] for row in rows} <= {"circle", "square", "triangle", "star"}


def test_names_may_come_from_a_file(arguments, tmp_path, capsys):
    labels = tmp_path / "names.txt"
    labels.write_text("".join(f"name{number}\n" for number in range(1, 25)))
    assert main([*arguments, "--score_threshold", "0.001", "--labels", str(labels)]) == 0
    _, *rows, _ = capsys.readouterr().out.splitlines()
    assert {row.split()[-1] for row in rows} <= {"name2", "name5", "name11", "name24"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--image", __file__], "expected a readable image"),
        (["--image", "none.jpg"], "none.jpg"),
        (["--score_threshold", "2"], "expected score_threshold in [0, 1], found 2"),
        (["--model", "none.onnx"], "found nothing at none.onnx"),
        (["--output", "out.gif"], "expected a picture ending in .jpg or .png, found out.gif"),
    ],
)
def test_a_mistake_is_one_line(arguments, capsys, more, words):
    assert main([*arguments, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ofa-det detect: error: ")
    assert words in line
