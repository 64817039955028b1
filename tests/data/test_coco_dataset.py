import logging

import numpy as np
import pytest

from ofa_det.arch.classes import Category


def test_labels_are_positions_by_ascending_category_id(coco):
    coco.add_image(5)
    coco.add_box(5, [8, 4, 16, 8], category_id=7)
    coco.add_box(5, [0, 0, 80, 40], category_id=3, iscrowd=1)
    dataset = coco.open()
    assert dataset.categories == (Category(id=3, name="early"), Category(id=7, name="late"))
    annotations = dataset.annotations(0)
    assert annotations.labels.tolist() == [1, 0]
    assert annotations.ignored.tolist() == [False, True]
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


def test_objects_are_all_boxes_but_crowds_with_their_images(coco):
    for image_id in (1, 2, 3, 4):
        coco.add_image(image_id)
    coco.add_box(4, [8, 4, 8, 8], category_id=7)
    coco.add_box(2, [0, 0, 80, 40], iscrowd=1)
    coco.add_box(2, [40, 10, 20, 20])
    coco.add_box(1, [0, 0, 80, 40])
    coco.add_box(2, [0, 0, 40, 40], category_id=7)
    dataset = coco.open()
    objects = dataset.objects()
    np.testing.assert_allclose(
        objects.boxes, [[0, 0, 1, 1], [0.5, 0.25, 0.75, 0.75], [0, 0, 0.5, 1], [0.1, 0.1, 0.2, 0.3]], rtol=1e-6
    )
    assert objects.labels.tolist() == [0, 0, 1, 1]
    assert objects.images.tolist() == [0, 1, 1, 3]
    assert (objects.boxes.dtype, len(objects)) == (np.float32, 4)
    turned = dataset.subset(np.array([3, 2, 1])).objects()
    assert turned.labels.tolist() == [1, 0, 1]
    assert turned.images.tolist() == [0, 2, 2]
    for index in range(4):
        of_image = dataset.annotations(index)
        assert np.array_equal(of_image.boxes[~of_image.ignored], objects.boxes[objects.images == index])
    assert dataset.subset(np.array([2])).objects().boxes.shape == (0, 4)


def test_ground_truth_of_a_subset_is_limited_to_it(coco):
    for image_id in (1, 2):
        coco.add_image(image_id)
        coco.add_box(image_id, [image_id, 0, 5, 5])
    subset = coco.open().subset(np.array([1]))
    truth = subset.ground_truth()
    assert len(subset) == 1
    assert [image["id"] for image in truth["images"]] == [2]
    assert [annotation["bbox"][0] for annotation in truth["annotations"]] == [2]


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
