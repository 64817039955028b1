import json
import logging

import numpy as np
import pytest

from ofa_det.data.categories import Category
from ofa_det.data.coco_dataset import CocoDataset


def test_labels_are_positions_by_ascending_category_id(coco):
    coco.add_image(5)
    coco.add_box(5, [8, 4, 16, 8], category_id=7)
    coco.add_box(5, [0, 0, 80, 40], category_id=3, iscrowd=1)
    dataset = coco.open()
    assert dataset.categories == (Category(id=3, name="early"), Category(id=7, name="late"))
    annotations = dataset.annotations(0)
    assert annotations.labels.tolist() == [1, 0]
    assert annotations.crowd.tolist() == [False, True]
    np.testing.assert_allclose(annotations.boxes, [[0.1, 0.1, 0.3, 0.3], [0, 0, 1, 1]], rtol=1e-6)
    assert (dataset.image_id(0), dataset.file_name(0), dataset.image_size(0)) == (5, "5.png", (40, 80))
    assert dataset.image(0).shape == (40, 80, 3)


def test_images_without_boxes_stay(coco):
    for image_id in (1, 2, 3):
        coco.add_image(image_id)
    coco.add_box(3, [1, 1, 5, 5])
    dataset = coco.open()
    assert [len(dataset.annotations(index)) for index in range(len(dataset))] == [0, 0, 1]
    assert dataset.annotations(0).boxes.shape == (0, 4)


def test_ground_truth_is_what_the_file_says(coco):
    coco.add_image(9)
    coco.add_box(9, [1.5, 2.25, 10, 5], category_id=7, area=31.5, iscrowd=1)
    coco.add_box(9, [2, 2, 4, 6])
    truth = coco.open().ground_truth()
    assert truth["images"] == [{"id": 9, "file_name": "9.png", "width": 80, "height": 40}]
    assert truth["annotations"] == [
        {"id": 1, "image_id": 9, "category_id": 7, "bbox": [1.5, 2.25, 10, 5], "area": 31.5, "iscrowd": 1},
        {"id": 2, "image_id": 9, "category_id": 3, "bbox": [2, 2, 4, 6], "area": 24.0, "iscrowd": 0},
    ]
    assert [category["id"] for category in truth["categories"]] == [3, 7]


def test_box_sizes_are_normalised_and_without_crowds(coco):
    for image_id in (1, 2):
        coco.add_image(image_id)
    coco.add_box(2, [40, 10, 20, 20])
    coco.add_box(2, [0, 0, 80, 40], iscrowd=1)
    assert coco.open().box_sizes().tolist() == [[0.25, 0.5]]


def test_ground_truth_of_a_subset_is_limited_to_it(coco):
    for image_id in (1, 2):
        coco.add_image(image_id)
        coco.add_box(image_id, [image_id, 0, 5, 5])
    subset = coco.open().subset(np.array([1]))
    truth = subset.ground_truth()
    assert len(subset) == 1
    assert [image["id"] for image in truth["images"]] == [2]
    assert [annotation["bbox"][0] for annotation in truth["annotations"]] == [2]


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


def test_missing_images_are_one_line(coco):
    for image_id in (1, 2, 3):
        coco.add_image(image_id)
    (coco.images / "2.png").unlink()
    (coco.images / "3.png").unlink()
    with pytest.raises(ValueError, match=r"found 2 of 3 missing, the first 2\.png") as error:
        coco.open()
    assert "\n" not in str(error.value)


def test_unreadable_images_are_skipped(coco, caplog):
    coco.add_image(1).write_bytes(b"")
    coco.add_image(2)
    coco.add_box(1, [1, 1, 5, 5])
    with caplog.at_level(logging.WARNING):
        dataset = coco.open()
    assert [dataset.image_id(index) for index in range(len(dataset))] == [2]
    assert dataset.ground_truth()["annotations"] == []
    assert "1 unreadable images skipped (1.png)" in caplog.text
    (coco.images / "2.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="expected readable images"):
        coco.open()


def test_other_size_than_stated_is_warned_of(coco, caplog):
    coco.add_image(1, width=160, height=80)
    coco.add_box(1, [80, 40, 80, 40])
    with caplog.at_level(logging.WARNING):
        dataset = coco.open()
    assert "1 images of another size than stated" in caplog.text
    assert dataset.annotations(0).boxes.tolist() == [[0.5, 0.5, 1, 1]]


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
        (put("images", value=KeyError), "expected a list 'images', found nothing"),
        (put("annotations", value={}), "expected a list 'annotations', found a dict"),
        (put("images", value=[]), "expected at least one image"),
        (put("categories", value=[]), "expected at least one category"),
        (put("categories", 0, "id", value=3), "expected distinct category ids, found 3 twice"),
        (put("categories", 0, "name", value=None), r"expected 'name' of type str in categories\[0\]"),
        (put("images", 0, value=4), "expected objects in 'images', found 4 at position 0"),
        (
            put("images", 0, "width", value=0),
            r"annotations\.json: expected a width and height of 1 to 100000 px in images\[0\]",
        ),
        (put("images", 0, "height", value=float("inf")), "found 80 x inf"),
        (put("images", 0, "id", value="1"), r"expected 'id' of type int in images\[0\], found '1'"),
        (put("annotations", 0, "bbox", value=[1, 2, 3]), r"expected a 'bbox' of 4 numbers in annotations\[0\]"),
        (put("annotations", 0, "bbox", value=[1, 2, "3", 4]), "expected a 'bbox' of 4 numbers"),
        (put("annotations", 0, "category_id", value=KeyError), "expected 'category_id' of type int .* found None"),
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


def test_files_that_are_not_there_or_not_json(coco, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a COCO annotation file"):
        CocoDataset.open(tmp_path / "none.json", coco.images)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        CocoDataset.open(tmp_path / "broken.json", coco.images)
    (tmp_path / "list.json").write_text(json.dumps([]))
    with pytest.raises(ValueError, match="expected a JSON object"):
        CocoDataset.open(tmp_path / "list.json", coco.images)
