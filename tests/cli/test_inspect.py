import json
import shutil

from PIL import Image

from ofa_det.artefacts.records import parse_record
from ofa_det.cli.inspect_data import main
from ofa_det.cli.main import main as ofa_det
from ofa_det.data.inspection_report import Inspection

SPACE = ["--space", "ssdlite_mbv3_tiny"]


def test_a_table_a_record_and_pictures(tiny_root, tmp_path, capsys):
    output = tmp_path / "inspect"
    assert main([str(tiny_root), "--output", str(output), "--pictures", "7", *SPACE]) == 0
    lines = capsys.readouterr().out.splitlines()
    record = parse_record(json.loads((output / "inspection.json").read_text()), Inspection, where="inspection.json")
    assert lines[0] == f"{tiny_root}, objects at {record.resolution} px"
    assert lines[2].split()[:3] == ["train", "12", str(record.splits["train"].images_without_objects)]
    assert lines[3].split()[:2] == ["val", "3"]
    classes = [line.split()[0] for line in lines[7:11]]
    assert sorted(classes) == ["circle", "square", "star", "triangle"]
    warnings = [line.removeprefix("WARNING: ") for line in lines if line.startswith("WARNING: ")]
    assert tuple(warnings) == record.warnings
    assert any("on fewer than 50 training images" in warning for warning in warnings)
    assert lines[-1] == f"wrote {output / 'inspection.json'} and {output / 'pictures.jpg'}"
    with Image.open(output / "pictures.jpg") as sheet:
        assert sheet.width / sheet.height == 1200 / 516


def test_json_alone_on_stdout(tiny_root, tmp_path, capsys):
    words = ["inspect", "--data.root", str(tiny_root), "--output", str(tmp_path / "inspect"), "--json", *SPACE]
    assert ofa_det(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "inspect/inspection.json").read_text())
    assert printed["splits"]["train"]["images"] == 12


def test_what_is_wrong_is_named(tiny_root, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    train = sorted((root / "train2017").iterdir())
    val = sorted((root / "val2017").iterdir())
    shutil.copyfile(train[0], val[0])
    content = train[1].read_bytes()
    train[1].write_bytes(content[: len(content) // 2])
    train[2].unlink()
    assert main([str(root), "--output", str(tmp_path / "inspect"), *SPACE]) == 0
    text = capsys.readouterr().out
    assert f"1 broken files: {train[1]}" in text
    assert f"1 missing files: {train[2]}" in text
    assert f"1 validation images that are training images: {val[0].name} is {train[0].name}\n" in text
    assert "WARNING: 1 of 3 validation images are training images too" in text


def test_a_mistake_is_one_line(tmp_path, capsys):
    (tmp_path / "voc").mkdir()
    for words, message in (
        ([str(tmp_path / "nowhere")], "expected the folder of a COCO-format data set, found nothing at"),
        ([str(tmp_path / "voc")], "or bring other formats into this layout with ofa-det convert"),
        ([str(tmp_path), "--space", "none"], "expected a YAML file or one of"),
    ):
        assert main([*words, "--output", str(tmp_path / "inspect")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    assert not (tmp_path / "inspect").exists()
