import pytest

from ofa_det.cli.package_submission import main


@pytest.fixture
def arguments(write_detector, tiny_root, tmp_path):
    model = write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.0, 0.5]])
    return ["--model", str(model), "--name", "duck", "--data.root", str(tiny_root), "--output", str(tmp_path / "out")]


def test_it_prints_what_it_measured(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    (folder,) = (tmp_path / "out").iterdir()
    kept, accuracy, latency, md5 = capsys.readouterr().out.splitlines()
    assert kept == f"{folder}: OVIC's interface is kept"
    assert f"AP {folder.name.removeprefix('duck_')}, " in accuracy
    assert accuracy.endswith("on 3 images")
    assert "(pixel2, tflite-2019-v3, " in latency
    assert md5.split()[1] == (folder / "md5.txt").read_text().split()[0]


def test_a_broken_interface_is_one_line(write_detector, arguments, tmp_path, capsys):
    model = write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.5]], max_detections=10, name="short.tflite")
    assert main([*arguments, "--model", str(model)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected [1, 100, 4], found [1, 10, 4]" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--name", "a/b"], "expected a name of letters"),
        (["--model", "none.tflite"], "found nothing at none.tflite"),
        (["--model", __file__], "expected a TFLite model"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--title", "duck"], "title"),
    ],
)
def test_a_mistake_is_one_line(arguments, tmp_path, capsys, more, words):
    assert main([*arguments, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ofa-det package: error: ")
    assert words in line
    assert not (tmp_path / "out").exists()
