import logging
from pathlib import Path

import pytest

from ofa_det.arch.classes import Category
from ofa_det.teachers.classes import find_classes
from ofa_det.teachers.coco_categories import COCO_CATEGORIES


def test_a_list_names_class_after_class(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n???\ndog\n")
    classes = find_classes(tmp_path / "x.onnx", count=3, labels=str(tmp_path / "names.txt"))
    assert classes.categories == (Category(id=1, name="cat"), Category(id=3, name="dog"))
    assert classes.used.tolist() == [0, 2]


def test_a_line_less_than_classes_leaves_the_first_to_the_background(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    classes = find_classes(tmp_path / "x.onnx", count=3, labels=None)
    assert classes.columns == (None, Category(id=1, name="cat"), Category(id=2, name="dog"))
    assert find_classes(tmp_path / "x.onnx", count=None, labels=None).used.tolist() == [0, 1]


def test_without_a_list_80_classes_are_coco_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ofa_det"):
        assert find_classes(tmp_path / "x.onnx", count=80, labels=None).categories == COCO_CATEGORIES
    assert "x.onnx: names of 80 classes: COCO's, since there are 80" in caplog.text
    assert find_classes(tmp_path / "x.onnx", count=91, labels=None).used[0] == 1
    assert find_classes(tmp_path / "x.onnx", count=None, labels="coco90").used[-1] == 89


def test_what_does_not_name_the_classes_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "x.onnx"
    for count, found in ((7, "7 classes"), (None, "no number of classes")):
        with pytest.raises(ValueError, match=f"labels.txt beside .*, found {found} and no names; pass --labels"):
            find_classes(model, count=count, labels=None)
    with pytest.raises(FileNotFoundError, match=r"coco80, coco90, coco91, found nothing at none.txt"):
        find_classes(model, count=7, labels="none.txt")
    with pytest.raises(ValueError, match=r"of the 7 classes of .*, found coco80 of 80"):
        find_classes(model, count=7, labels="coco80")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match=r"each of the 7 classes of .*, found 2 in"):
        find_classes(model, count=7, labels=None)
    (tmp_path / "labels.txt").write_text("???\n")
    with pytest.raises(ValueError, match="expected a named class"):
        find_classes(model, count=1, labels=None)
