from pathlib import Path

import pytest

from ofa_det.teachers.opening import open_teacher

from .conftest import WriteOnnx
from .test_onnx_teacher import WIDE, yolox_file


def test_several_files_are_an_ensemble(write_onnx: WriteOnnx, tmp_path: Path) -> None:
    first = yolox_file(write_onnx, name="a.onnx")
    second = yolox_file(write_onnx, name="b.onnx")
    opened = open_teacher(f"{first}, {second}", decoder="yolox,auto", threads=1)
    assert [source.name for source in opened.sources] == ["a.onnx", "b.onnx"]
    (found,) = opened.teacher.detect([WIDE])
    assert found.boxes[0] == pytest.approx([24 / 64, 8 / 32, 40 / 64, 24 / 32])
    assert found.scores[0, 79] == pytest.approx(0.45)
    with pytest.raises(ValueError, match="expected --labels for each of 2 teachers, found 3"):
        open_teacher(f"{first},{second}", labels="a,b,c")


def test_what_is_no_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a run folder or torchvision:NAME, found nothing at none"):
        open_teacher("none")
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a run folder or torchvision:NAME, found .*x\.pt"):
        open_teacher(str(tmp_path / "x.pt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="expected a run folder with"):
        open_teacher(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="expected an accelerator"):
        open_teacher(str(tmp_path / "empty"), accelerator="abacus")
