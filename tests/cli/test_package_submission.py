import hashlib
import json

import pytest

from ofa_det.cli.package_submission import main


@pytest.fixture
def arguments(write_detector, tiny_root, tmp_path):
    model = write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.0, 0.5] + [0.0] * 22])
    return [
        "--model",
        str(model),
        "--name",
        "duck",
        "--data.root",
        str(tiny_root),
        "--output",
        str(tmp_path / "out"),
        "--least_ap",
        "0",
    ]


def test_it_prints_what_it_measured(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    (folder,) = (tmp_path / "out").iterdir()
    kept, accuracy, latency, scores, md5 = capsys.readouterr().out.splitlines()
    assert kept == f"{folder}: OVIC's interface is kept"
    assert f"AP {folder.name.removeprefix('duck_')}, " in accuracy
    assert accuracy.endswith("on 3 images")
    assert "(pixel2, tflite-2019-v3, " in latency
    assert scores.endswith(" within 30 ms an image")
    assert md5.split()[1] == hashlib.md5((folder / f"{folder.name}.tflite").read_bytes()).hexdigest()


def test_a_broken_interface_is_one_line(write_detector, arguments, tmp_path, capsys):
    model = write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.5] * 24], max_detections=10, name="short.tflite")
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


def test_a_package_is_verified_and_a_changed_one_refused(arguments, tiny_root, tmp_path, capsys):
    assert main(arguments) == 0
    (folder,) = (tmp_path / "out").iterdir()
    again = ["--verify", str(folder), "--data.root", str(tiny_root)]
    capsys.readouterr()
    assert main(again) == 0
    *lines, verdict = capsys.readouterr().out.splitlines()
    assert all(line.startswith("pass  ") for line in lines)
    assert verdict == f"{folder} holds what it claims, on 3 images"

    (folder / "MODEL_CARD.md").write_text((folder / "MODEL_CARD.md").read_text().replace("uint8", "int8", 1))
    assert main(again) == 2
    shown = capsys.readouterr()
    assert "FAIL  hashes: expected those of md5.txt, found others of MODEL_CARD.md" in shown.out
    assert "2 of 10 claims broken: hashes, MODEL_CARD.md" in shown.err.splitlines()[-1]
    assert main([*again, "--json"]) == 2
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == ["hashes", "MODEL_CARD.md"]
