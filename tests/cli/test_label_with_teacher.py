import json
from pathlib import Path

import pytest

from ofa_det.cli.label_with_teacher import main
from ofa_det.data.generated import generate_dataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.coco_categories import COCO_CATEGORIES
from ofa_det.teachers.label_file import TeacherLabels

YOLOX_NANO = Path(__file__).parents[2] / "../shared/teachers/yolox_nano.onnx"


def test_missing_teacher_is_one_line(tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--teacher", str(tmp_path / "none.onnx"), "--data.root", str(tiny_root), "--output", str(tmp_path / "out")]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "found nothing at" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.root", "D", "--score_threshold", "30"], "score_threshold <= 1, found 30"),
        ([], "expected either --data.root or --images, found neither"),
        (["--data.root", "D", "--views", "2", "--augmentation.mosaic", "1"], "expected augmentation.mosaic 0"),
        (["--images", "nowhere"], "expected a folder of pictures, found nothing at nowhere"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--teacher", "x.onnx", "--output", "runs/nothing here", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_run_folder_labels_and_says_how_well(
    detector_folder: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Self-teaching: a detector of ours is a teacher like any other."""
    output = tmp_path / "labels"
    aliases = json.dumps({"circle": "star", "star": "circle"})
    argv = ["--teacher", str(detector_folder), "--data.root", str(tiny_root), "--output", str(output)]
    argv += ["--views", "2", "--aliases", aliases, "--threads", "1"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "on 12 whole images" in text
    assert "boxes on 12 images in 2 views, 0 unreadable, " in text
    assert " images/s, " in text
    assert " bytes an image\n" in text
    labels = TeacherLabels.read(output)
    assert labels.rows_of(open_split(DataConfig(root=str(tiny_root)), "train")).tolist() == list(range(12))
    assert labels.header.mapping.columns == ((3,), (1,), (2,), (0,))
    assert (output / "report/agreements.jpg").exists() or (output / "report/disagreements.jpg").exists()
    assert main(argv) == 2
    assert "pass --resume" in capsys.readouterr().err
    assert main([*argv, "--resume", "--report", "false"]) == 0


def test_unannotated_pictures_become_a_data_set_of_the_teachers_categories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not YOLOX_NANO.exists():
        pytest.skip("needs the shared YOLOX-Nano beside the checkout")
    root = generate_dataset(tmp_path / "data", num_train=3, num_val=1, image_size=(96, 128))
    output = tmp_path / "labelled"
    options = {"teacher": YOLOX_NANO, "images": root / "train2017", "output": output, "score_threshold": 0.02}
    argv = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main([*argv, "--as_dataset", "--threads", "1"]) == 0
    assert "as a data set; train on it with --data.root" in capsys.readouterr().out
    labelled = open_split(DataConfig(root=str(output)), "train")
    assert labelled.categories == COCO_CATEGORIES
    assert len(labelled) == 3
    named = ["--teacher", str(YOLOX_NANO), "--data.root", str(root), "--output", str(tmp_path / "other")]
    assert main(named) == 2
    assert "expected categories that teacher and data set share" in capsys.readouterr().err
