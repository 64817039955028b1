from ofa_det.arch.levels import AnchorFit
from ofa_det.artefacts.records import read_record
from ofa_det.cli.fit_anchors import main


def test_it_writes_and_prints_the_anchors_of_every_level(tiny_root, tiny_space, tiny_space_file, tmp_path, capsys):
    output = tmp_path / "anchors.json"
    words = ["--data.root", str(tiny_root), "--space", str(tiny_space_file), "--output", str(output), "--count", "4"]
    assert main(words) == 0
    fit = read_record(output, AnchorFit)
    assert len(fit.anchor_sizes) == len(tiny_space.levels)
    assert 1 <= sum(map(len, fit.anchor_sizes)) <= 4 + 1
    before, after = fit.stock_recall.all_boxes, fit.recall.all_boxes
    assert before.boxes == after.boxes > 0
    assert before.fraction < after.fraction
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == ["0", "1", "2", "3", "4", "5"]
    assert lines[6].endswith("none: a training leaves this level out")
    assert lines[7] == "boxes with an anchor of IoU > 0.5 where it stands, at 96 px"
    (total,) = [line for line in lines if line.startswith("all classes")]
    assert total.split("classes")[1].split(maxsplit=1) == [
        str(before.boxes),
        f"{100 * before.fraction:.1f} %  {100 * after.fraction:.1f} %",
    ]
    assert {"circle", "square", "star", "triangle"} == {line.split()[0] for line in lines[9:13]}


def test_of_many_classes_the_worst_are_shown(tiny_root, tiny_space_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ofa_det.cli.fit_anchors._MOST_CLASSES", 2)
    words = ["--data.root", str(tiny_root), "--space", str(tiny_space_file), "--output", str(tmp_path / "anchors.json")]
    assert main(words) == 0
    fit = read_record(tmp_path / "anchors.json", AnchorFit)
    lines = capsys.readouterr().out.splitlines()
    shares = [float(line.split()[-2]) for line in lines[9:11]]
    assert shares == sorted(round(100 * group.fraction, 1) for group in fit.recall.classes)[:2]
    assert lines[11] == "2 more classes"


def test_a_mistake_is_one_line(tiny_root, tmp_path, capsys):
    words = ["--data.root", str(tiny_root), "--output", str(tmp_path / "out.json")]
    assert main([*words, "--space", "none"]) == 2
    assert main([*words, "--count", "0"]) == 2
    assert main([*words, "--number", "3"]) == 2
    unknown, too_few, option = capsys.readouterr().err.splitlines()
    assert "expected a YAML file or one of" in unknown
    assert "expected count >= 1, found 0" in too_few
    assert "number" in option
    assert not (tmp_path / "out.json").exists()
