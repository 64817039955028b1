import json
import logging

import numpy as np
import pytest

from ofa_det.data.annotation_file import read_annotation_file


def test_single_faults_are_skipped_counted_and_named(coco, caplog):
    coco.add_image(1)
    coco.add_box(1, [1, 1, 5, 5])
    for bbox in ([1, 1, 0, 5], [1, 1, 5, -2], [1, float("nan"), 5, 5], [1, 1, float("inf"), 5]):
        coco.add_box(1, bbox)  # annotations 1..4
    coco.add_box(1, [100, 1, 5, 5])
    coco.add_box(1, [1, 1, 5, 5], category_id=4)
    coco.add_box(99, [1, 1, 5, 5])
    with caplog.at_level(logging.WARNING):
        dataset = coco.open()
    assert len(dataset.annotations(0)) == 1
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "annotations.json: 1 annotations of unknown categories skipped (annotation 6 of category 4)",
        "annotations.json: 1 annotations of unknown images skipped (annotation 7 of image 99)",
        "annotations.json: 4 degenerate boxes skipped (annotation 1, annotation 2, annotation 3, ...)",
        "annotations.json: 1 boxes outside their image skipped (annotation 5)",
    ]


def test_boxes_that_stick_out_are_clipped_and_counted_beyond_a_pixel(coco, caplog):
    coco.add_image(1)
    coco.add_box(1, [-0.5, 0, 20.5, 40.9])  # rounding
    coco.add_box(1, [60, 20, 40, 10])
    with caplog.at_level(logging.WARNING):
        dataset = coco.open()
    np.testing.assert_allclose(dataset.annotations(0).boxes, [[0, 0, 0.25, 1], [0.75, 0.5, 1, 0.75]], rtol=1e-6)
    assert [record.getMessage() for record in caplog.records] == [
        "annotations.json: 1 boxes that stick out of their image clipped (annotation 1)"
    ]
    boxes = [annotation["bbox"] for annotation in dataset.ground_truth()["annotations"]]
    assert boxes == [[-0.5, 0, 20.5, 40.9], [60, 20, 20, 10]]


def test_sound_data_gives_no_warning(coco, caplog):
    coco.add_image(1)
    coco.add_box(1, [0, 0, 80, 40])
    with caplog.at_level(logging.WARNING):
        coco.open()
    assert not caplog.records


def test_repeated_image_entries(coco, caplog):
    coco.add_image(1)
    coco.content["images"].append(dict(coco.content["images"][0]))
    with caplog.at_level(logging.WARNING):
        assert len(coco.open()) == 1
    assert "1 repeated image entries skipped (image 1)" in caplog.text
    coco.content["images"][1]["file_name"] = "other.png"
    with pytest.raises(ValueError, match=r"expected one image for id 1, found 1\.png and other\.png"):
        coco.open()


def put(*path, value):
    def change(content):
        *parents, last = path
        for key in parents:
            content = content[key]
        if value is KeyError:
            del content[last]
        else:
            content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("images", value=KeyError), "expected a list 'images', found none"),
        (put("annotations", value={}), "expected a list 'annotations', found {}"),
        (put("images", value=[]), "expected at least one image"),
        (put("categories", value=[]), "expected at least one category"),
        (put("categories", 0, "id", value=3), "expected distinct category ids, found 3 twice"),
        (put("categories", 0, "name", value=None), r"expected 'name' to be a text in categories\[0\]"),
        (put("images", 0, value=4), "expected objects in 'images', found 4 at position 0"),
        (
            put("images", 0, "width", value=0),
            r"expected a width and height of 1 to 100000 px in images\[0\], found 0 x 40; correct .*annotations\.json",
        ),
        (put("images", 0, "height", value=float("inf")), "found 80 x Infinity"),
        (put("images", 0, "id", value="1"), r"expected 'id' to be a whole number in images\[0\], found \"1\""),
        (put("annotations", 0, "bbox", value=[1, 2, 3]), r"expected a 'bbox' of 4 numbers in annotations\[0\]"),
        (put("annotations", 0, "bbox", value=[1, 2, "3", 4]), "expected a 'bbox' of 4 numbers"),
        (
            put("annotations", 0, "category_id", value=KeyError),
            "expected 'category_id' to be a whole number .* found null",
        ),
        (put("annotations", 0, "iscrowd", value=2), "expected 'iscrowd' to be 0 or 1"),
    ],
)
def test_malformed_structure_is_one_line(coco, change, message):
    coco.add_image(1)
    coco.add_box(1, [1, 1, 5, 5])
    change(coco.content)
    with pytest.raises(ValueError, match=message) as error:
        coco.open()
    assert "\n" not in str(error.value)


def test_files_that_are_not_there_or_not_json(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a COCO annotation file"):
        read_annotation_file(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        read_annotation_file(tmp_path / "broken.json")
    (tmp_path / "list.json").write_text(json.dumps([]))
    with pytest.raises(ValueError, match="expected an object with images, annotations, categories, found \\[\\]"):
        read_annotation_file(tmp_path / "list.json")


def test_polygons_are_not_read_and_change_nothing(coco):
    """Of any form and anywhere in their entry; nor does a text that looks like one."""
    segments = [[[1.5, 2, 3e2, -4]], [], [[1, 2], [3, 4.25]], {"counts": [1, 2, 3], "size": [40, 80]}, None, "RLE"]
    coco.add_image(1)
    for number, segment in enumerate(segments):
        coco.add_box(1, [number, 1, 5, 5])
        coco.content["annotations"][-1] |= {"segmentation": segment, "area": 7 + number}
    coco.content["categories"][0]["name"] = 'a "segmentation": [[1, 2]]'
    for layout in ({}, {"indent": 1}, {"separators": (",", ":")}):
        coco.annotation_file.write_text(json.dumps(coco.content, **layout))
        table = read_annotation_file(coco.annotation_file)
        assert table.boxes_px[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
        assert table.areas.tolist() == [7, 8, 9, 10, 11, 12]
        assert table.categories[1].name == 'a "segmentation": [[1, 2]]'


def test_a_mistake_after_polygons_is_found_at_its_place_in_the_file(tmp_path):
    text = '{"annotations": [{"segmentation": [[1, 2, 3, 4]],, "id": 1}]}'
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(ValueError, match=f"a mistake in line 1, column {text.index(',,') + 2} "):
        read_annotation_file(tmp_path / "broken.json")


def test_the_first_wrong_field_of_many_is_named(coco):
    coco.add_image(1)
    for number in range(50):
        coco.add_box(1, [1, 1, 5, 5])
        coco.content["annotations"][number]["area"] = 3 if number < 30 else "large"
    with pytest.raises(ValueError, match=r"expected 'area' to be a number in annotations\[30\], found \"large\""):
        coco.open()
