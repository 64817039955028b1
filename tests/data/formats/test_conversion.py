import json
import logging
from pathlib import Path

import numpy as np
import pytest

from ofa_det.arch.classes import Category
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.formats.conversion import CONVERSION_FILE, Conversion, ConvertConfig, convert
from ofa_det.data.splits import DataConfig, open_splits

VOC = (
    "<annotation><size><width>80</width><height>40</height></size><object><name>fox</name><difficult>{difficult}</difficult>"
    "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>25</ymax></bndbox></object></annotation>"
)


def converted(root: Path, output: Path, **options: object) -> Conversion:
    return convert(ConvertConfig(source=str(root), output=str(output), **options), progress=False)


def opened(output: Path) -> tuple[CocoDataset, ...]:
    return open_splits(DataConfig(root=str(output)), ["train", "val"])


@pytest.fixture
def foxes(root, picture, write):
    """Twenty pictures of one animal in VOC format, without a division."""
    for number in range(20):
        picture(f"JPEGImages/{number:02}.png")
        write(f"Annotations/{number:02}.xml", VOC.format(difficult=int(number == 0)))
    return root


def test_voc_becomes_a_data_set_that_opens(foxes, tmp_path, caplog):
    record = converted(foxes, tmp_path / "data", val_fraction=0.25, seed=1)
    with caplog.at_level(logging.WARNING):
        train, val = opened(tmp_path / "data")
    assert not caplog.records
    assert (len(train), len(val)) == (15, 5)
    assert train.categories == val.categories == (Category(id=1, name="fox"),)
    np.testing.assert_allclose(train.annotations(0).boxes, [[10 / 80, 5 / 40, 30 / 80, 25 / 40]])
    assert sum(int(part.annotations(index).ignored.sum()) for part in (train, val) for index in range(len(part))) == 1
    ids = [part.image_id(index) for part in (train, val) for index in range(len(part))]
    assert ids == list(range(1, 21))
    content = json.loads((tmp_path / "data" / CONVERSION_FILE).read_text())
    assert (content["format"], content["divided"], content["val_fraction"], content["seed"]) == (
        "voc",
        "val_fraction",
        0.25,
        1,
    )
    splits = [content["splits"][name] for name in ("train", "val")]
    assert sum(split["objects"] for split in splits) == sum(split["classes"]["fox"] for split in splits) == 19
    assert [split["images"] for split in splits] == [15, 5]
    assert sum(split["ignored"] for split in splits) == 1
    assert record.splits["val"].images == 5


def test_the_same_seed_divides_alike(foxes, tmp_path):
    contents = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        converted(foxes, tmp_path / name, seed=seed)
        contents.append((tmp_path / name / "annotations/instances_val2017.json").read_text())
    assert contents[0] == contents[1] != contents[2]
    assert len(json.loads(contents[0])["images"]) == 4  # A fifth where nothing is said.


def test_images_are_linked_or_copied_and_stay_when_the_source_goes(foxes, tmp_path):
    source = foxes / "JPEGImages/00.png"
    for name, copy in (("linked", False), ("copied", True)):
        record = converted(foxes, tmp_path / name, copy_images=copy)
        (found,) = (tmp_path / name).rglob("00.png")
        assert found.samefile(source) is not copy
        assert not found.is_symlink()
        assert found.read_bytes() == source.read_bytes()
        assert (record.linked_images, record.copied_images) == ((0, 20) if copy else (20, 0))


def test_images_are_copied_where_the_file_system_cannot_link(foxes, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another device")

    monkeypatch.setattr("os.link", refuse)
    assert converted(foxes, tmp_path / "data").copied_images == 20
    assert len(opened(tmp_path / "data")[0]) == 16


def test_files_of_one_name_get_names_of_their_own(root, picture, write, tmp_path):
    for folder in ("train", "valid"):
        for name in ("a.png", "a.bmp"):
            picture(f"{folder}/{name}")
        write(f"{folder}/a.xml", VOC.format(difficult=0))
    converted(root, tmp_path / "data", to="yolo")
    names = sorted(
        path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.*") if path.is_file()
    )
    assert [name for name in names if name.startswith("images")] == [
        "images/train/train_a.bmp",
        "images/train/train_a_2.png",
        "images/val/valid_a.bmp",
        "images/val/valid_a_2.png",
    ]
    assert len([name for name in names if name.startswith("labels")]) == 4


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(foxes, tmp_path, monkeypatch):
    output = tmp_path / "data"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="expected an empty folder or none at"):
        converted(foxes, output)
    with pytest.raises(ValueError, match="expected an output outside of"):
        converted(foxes, foxes / "coco")
    assert [path.name for path in output.iterdir()] == ["mine.txt"]

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("ofa_det.data.formats.conversion.write_record", fail)
    with pytest.raises(OSError, match="disk full"):
        converted(foxes, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "source"]


def test_an_empty_output_is_filled(foxes, tmp_path):
    (tmp_path / "data").mkdir()
    converted(foxes, tmp_path / "data")
    assert (tmp_path / "data/train2017").is_dir()


def test_coco_to_yolo_and_back_is_the_same_within_half_a_pixel(tiny_root, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        converted(tiny_root, tmp_path / "yolo", to="yolo")
    converted(tmp_path / "yolo", tmp_path / "back")
    for before, after in zip(opened(tiny_root), opened(tmp_path / "back"), strict=True):
        assert [category.name for category in after.categories] == [category.name for category in before.categories]
        at = {after.file_name(index): index for index in range(len(after))}
        assert len(at) == len(before)
        for index in range(len(before)):
            wanted, found = before.annotations(index), after.annotations(at[before.file_name(index)])
            kept = ~wanted.ignored
            assert np.array_equal(found.labels, wanted.labels[kept])
            height, width = before.image_size(index)
            assert after.image_size(at[before.file_name(index)]) == (height, width)
            apart = np.abs(found.boxes - wanted.boxes[kept]) * (width, height, width, height)
            assert apart.max(initial=0) < 0.5
    crowds = sum(int(part.annotations(i).ignored.sum()) for part in opened(tiny_root) for i in range(len(part)))
    assert (f"{crowds} ignored regions left out, which YOLO does not have" in caplog.text) == (crowds > 0)


def test_coco_is_divided_anew_with_crowds_and_areas(tiny_root, tmp_path):
    converted(tiny_root, tmp_path / "data", val_fraction=0.4)
    train, val = opened(tmp_path / "data")
    assert (len(train), len(val)) == (9, 6)
    before, after = (
        sorted(
            (entry["area"], entry["iscrowd"], *np.round(entry["bbox"], 2))
            for part in parts
            for entry in part.ground_truth()["annotations"]
        )
        for parts in (opened(tiny_root), (train, val))
    )
    assert before == after


def test_roboflow_coco_and_a_single_file(root, picture, write, tmp_path):
    content = {
        "images": [{"id": 0, "file_name": "a.png", "width": 80, "height": 40}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 0, "name": "all"}, {"id": 1, "name": "fox"}],
    }
    for folder in ("train", "valid", "test"):
        picture(f"{folder}/a.png")
        write(f"{folder}/_annotations.coco.json", json.dumps(content))
    record = converted(root, tmp_path / "data")
    assert (record.divided, list(record.splits)) == ("source", ["train", "val", "test"])
    assert (tmp_path / "data/annotations/instances_test2017.json").is_file()
    assert [len(part.objects()) for part in opened(tmp_path / "data")] == [1, 1]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {}, "expected Pascal VOC, YOLO, .* found no files; how each"),
        ({"a.txt": "hello", "b.txt": "x"}, {}, r"COCO annotations in .*, found 2 \.txt"),
        (
            {"a.xml": VOC, "a.txt": "0 0 0 1 1"},
            {},
            "expected one format in .*, found voc, yolo; choose one with --format",
        ),
        (
            {"a.xml": VOC},
            {},
            "expected images .* found none that can be used; .*1 annotations without image",
        ),
        ({"a.xml": VOC}, {"names": "n.txt"}, "expected --names with the format yolo, found it with voc"),
        ({"a.xml": VOC}, {"format": "csv"}, "expected a CSV file with the columns"),
        ({"a.xml": VOC}, {"format": "coco"}, "expected COCO annotation files in"),
    ],
)
def test_what_cannot_be_converted_is_told(root, write, tmp_path, files, options, message):
    for name, content in files.items():
        write(name, content.format(difficult=0))
    with pytest.raises(ValueError, match=message) as error:
        converted(root, tmp_path / "data", **options)
    assert "\n" not in str(error.value)


def test_options_out_of_range():
    for options, message in (({"val_fraction": 1.0}, "0 < val_fraction < 1"), ({"seed": -1}, "seed >= 0")):
        with pytest.raises(ValueError, match=message):
            ConvertConfig(source="x", **options)
    with pytest.raises(FileNotFoundError, match="expected the folder of a data set"):
        convert(ConvertConfig(source="nowhere"))
