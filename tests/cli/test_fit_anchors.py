from ofa_det.arch.levels import AnchorFit
from ofa_det.artefacts.records import read_record
from ofa_det.cli.fit_anchors import main


def test_it_writes_and_prints_the_anchors_of_every_level(tiny_root, tiny_space, tiny_space_file, tmp_path, capsys):
    output = tmp_path / "anchors.json"
    words = ["--data.root", str(tiny_root), "--space", str(tiny_space_file), "--output", str(output), "--count", "4"]
    assert main(words) == 0
    fit = read_record(output, AnchorFit)
    assert len(fit.anchor_sizes) == len(tiny_space.levels)
    assert sum(map(len, fit.anchor_sizes)) >= 4
    assert fit.mean_iou > fit.stock_mean_iou
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == ["0", "1", "2", "3", "4", "5"]
    assert f"mean best IoU:        {fit.mean_iou:.3f}" in lines[8]


def test_a_mistake_is_one_line(tiny_root, tmp_path, capsys):
    words = ["--data.root", str(tiny_root), "--output", str(tmp_path / "out.json")]
    assert main([*words, "--space", "none"]) == 2
    assert main([*words, "--count", "1000"]) == 2
    assert main([*words, "--number", "3"]) == 2
    unknown, too_many, option = capsys.readouterr().err.splitlines()
    assert "expected a YAML file or one of" in unknown
    assert "1000" in too_many
    assert "number" in option
    assert not (tmp_path / "out.json").exists()
