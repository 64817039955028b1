import json

from ofa_det.cli.validate_submission import main


def test_a_line_a_rule_and_a_verdict(write_detector, tiny_root, capsys):
    model = write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.0, 0.5] + [0.0] * 22])
    assert main([str(model), "--data.root", str(tiny_root), "--images", "2"]) == 0
    *lines, verdict = capsys.readouterr().out.splitlines()
    assert all(line.startswith("pass  ") for line in lines)
    assert verdict == f"{model} keeps all {len(lines)} rules, on 2 images and a random one"


def test_a_broken_rule_ends_with_status_2(write_detector, capsys):
    model = write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.5]], max_detections=10)
    assert main([str(model)]) == 2
    shown = capsys.readouterr()
    assert "FAIL  shape of boxes: expected [1, 100, 4], found [1, 10, 4]" in shown.out
    (line,) = shown.err.splitlines()
    assert "found 3 broken: shape of boxes, shape of classes, shape of scores" in line

    assert main([str(model), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_what_is_no_tflite_file_is_one_line(capsys):
    assert main([__file__]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a TFLite model in" in line
