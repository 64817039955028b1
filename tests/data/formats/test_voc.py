import pytest

from ofa_det.arch.classes import Category
from ofa_det.data.formats.voc import read_voc


def xml(*objects, size=(80, 40), filename="x.png"):
    """Objects are (name, xmin, ymin, xmax, ymax) with further elements behind."""
    items = "".join(
        f"<object><name>{name}</name>{more}<bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d, more in (entry if len(entry) == 6 else (*entry, "") for entry in objects)
    )
    width, height = size
    return (
        f"<annotation><filename>{filename}</filename><size><width>{width}</width><height>{height}</height>"
        f"<depth>3</depth></size>{items}</annotation>"
    )


def kinds(problems):
    return {problem.kind: problem.count for problem in problems.found()}


def test_pixels_count_from_one_and_the_last_one_belongs_to_the_box(root, picture, write, problems):
    picture("JPEGImages/a.png")
    write("Annotations/a.xml", xml(("dog", 1, 1, 80, 40), ("cat", 11, 21, 20, 40)))
    source = read_voc(root, problems)
    assert source.categories == (Category(id=1, name="cat"), Category(id=2, name="dog"))
    (image,) = source.images
    assert (image.path.name, image.size, image.split) == ("a.png", (40, 80), None)
    assert [(box.category_id, box.bbox) for box in image.boxes] == [(2, (0, 0, 80, 40)), (1, (10, 20, 10, 20))]
    assert problems.found() == ()


def test_difficult_objects_are_ignored_unless_asked_for_and_truncated_ones_are_objects(root, picture, write, problems):
    picture("a.png")
    marks = "<truncated>1</truncated>", "<difficult>1</difficult>", "<difficult>0</difficult>"
    write("a.xml", xml(*(("dog", 1, 1, 9, 9, mark) for mark in marks)))
    ignored = [box.ignored for box in read_voc(root, problems).images[0].boxes]
    assert ignored == [False, True, False]
    assert not any(box.ignored for box in read_voc(root, problems, ignore_difficult=False).images[0].boxes)


def test_lists_of_image_sets_divide_and_what_is_in_none_is_named(root, picture, write, problems):
    for name in "abcd":
        picture(f"JPEGImages/{name}.png")
        write(f"Annotations/{name}.xml", xml(("dog", 1, 1, 9, 9)))
    picture("SegmentationClass/a.png")
    write("ImageSets/Main/train.txt", "a\nb 1\n")
    write("ImageSets/Main/val.txt", "c\n")
    source = read_voc(root, problems)
    assert [(image.path.stem, image.split) for image in source.images] == [("a", "train"), ("b", "train"), ("c", "val")]
    assert kinds(problems) == {"images in no list of ImageSets/Main left out": 1}


def test_trainval_and_test_are_the_lists_where_there_is_no_train(root, picture, write, problems):
    for name in "ab":
        picture(f"JPEGImages/{name}.png")
        write(f"Annotations/{name}.xml", xml(("dog", 1, 1, 9, 9)))
    write("ImageSets/Main/trainval.txt", "a\n")
    write("ImageSets/Main/test.txt", "b\n")
    assert [image.split for image in read_voc(root, problems).images] == ["train", "test"]


def test_files_beside_their_images_and_folders_that_name_a_split(root, picture, write, problems):
    for name in ("train/a", "valid/a", "valid/train_7"):
        picture(f"{name}.png")
        write(f"{name}.xml", xml(("dog", 1, 1, 9, 9)))
    picture("other/b.png")
    write("other/notes.xml", xml(("dog", 1, 1, 9, 9), filename="C:\\pictures\\b.png"))
    source = read_voc(root, problems)
    found = {image.path.relative_to(root).as_posix(): (image.split, len(image.boxes)) for image in source.images}
    assert found == {
        "other/b.png": (None, 1),
        "train/a.png": ("train", 1),
        "valid/a.png": ("val", 1),
        "valid/train_7.png": ("val", 1),
    }


def test_faults_are_counted_and_a_broken_file_is_not_taken_for_an_empty_one(root, picture, write, problems):
    for name in ("a", "broken", "empty"):
        picture(f"{name}.png")
    write("unreadable.png", b"no image")
    boxes = [("dog", 1, 1, 9, 9), ("dog", 30, 5, 20, 9), ("dog", 200, 1, 210, 9), ("dog", 70, 30, 120, 45)]
    write("a.xml", xml(*boxes, ("dog", "x", 1, 9, 9)))
    write("broken.xml", "<annotation><obj")
    write("lost.xml", xml(("dog", 1, 1, 9, 9), filename="../../lost.png"))
    write("unreadable.xml", xml(("dog", 1, 1, 9, 9)))
    source = read_voc(root, problems)
    assert {image.path.stem: [box.bbox for box in image.boxes] for image in source.images} == {
        "a": [(0, 0, 9, 9), (69, 29, 11, 11)],
        "empty": [],
    }
    assert kinds(problems) == {
        "files that are no VOC XML left out": 1,
        "annotations without image left out": 1,
        "boxes outside their image skipped": 1,
        "boxes that stick out of their image clipped": 1,
        "degenerate boxes skipped": 2,
        "images without annotations taken as empty": 1,
        "unreadable images left out": 1,
    }


@pytest.mark.parametrize("size", [(0, 0), ("", ""), (10**30, 5)])
def test_a_size_that_cannot_be_is_read_from_the_image(root, picture, write, problems, size):
    picture("a.png")
    write("a.xml", xml(("dog", 1, 1, 80, 40), size=size))
    (image,) = read_voc(root, problems).images
    assert (image.size, image.boxes[0].bbox) == ((40, 80), (0, 0, 80, 40))
    assert problems.found() == ()


def test_boxes_stay_relative_to_another_size_that_is_stated(root, picture, write, problems):
    picture("a.png")
    write("a.xml", xml(("dog", 1, 1, 160, 80), size=(160, 80)))
    (image,) = read_voc(root, problems).images
    assert (image.size, image.boxes[0].bbox) == ((80, 160), (0, 0, 160, 80))
    assert [problem.count for problem in problems.found()] == [1]
