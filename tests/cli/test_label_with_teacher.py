from pathlib import Path

import pytest

from ofa_det.cli.label_with_teacher import main
from ofa_det.data.generated import generate_dataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.coco_categories import COCO_CATEGORIES

YOLOX_NANO = Path(__file__).parents[2] / "../shared/teachers/yolox_nano.onnx"


def test_missing_teacher_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--teacher", str(tmp_path / "none.onnx"), "--data.root", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "found nothing at" in line


def test_threshold_out_of_range_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--teacher", "x.onnx", "--data.root", str(tmp_path), "--score_threshold", "30"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "score_threshold <= 1, found 30" in line


def test_labelled_images_are_a_data_set_of_the_teachers_categories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not YOLOX_NANO.exists():
        pytest.skip("needs the shared YOLOX-Nano beside the checkout")
    root = generate_dataset(tmp_path / "data", num_train=3, num_val=1, image_size=(96, 128))
    output = tmp_path / "labelled"
    options = {"teacher": YOLOX_NANO, "data.root": root, "output": output, "score_threshold": 0.05, "threads": 1}
    argv = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(argv) == 0
    assert "on 3 images" in capsys.readouterr().out
    labelled = open_split(DataConfig(root=str(output)), "train")
    assert labelled.categories == COCO_CATEGORIES
    assert len(labelled) == 3
    assert main(argv) == 2
    assert main([*argv, "--resume"]) == 0
