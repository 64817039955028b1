import pytest

from ofa_det.arch.classes import Category
from ofa_det.data.formats.yolo import parse_line, read_yolo

LABEL = "0 0.5 0.5 0.25 0.5\n"


def kinds(problems):
    return {problem.kind: problem.count for problem in problems.found()}


@pytest.mark.parametrize(
    ("pairs", "paths"),
    [
        ("images/train/a images/val/b", "train: images/train\nval: images/val\n"),
        ("train/images/a valid/images/b", "train: ../train/images\nval: ../valid/images\n"),  # Roboflow
        ("images/train/a images/val/b", "path: /nowhere/data\ntrain: images/train\nval: images/val\n"),
        ("images/train/a images/val/b", ""),
        ("images/one/a images/two/b", "train: images/one\nval: [images/two]\n"),
    ],
)
def test_layouts_of_ultralytics_and_roboflow(root, picture, write, problems, pairs, paths):
    for name in pairs.split():
        picture(f"{name}.png")
        write(f"{name.replace('images', 'labels')}.txt", LABEL)
    write("data.yaml", f"{paths}names: {{0: cell, 2: plate}}\n")
    source = read_yolo(root, problems)
    assert source.categories == (Category(id=1, name="cell"), Category(id=3, name="plate"))
    assert [(image.path.stem, image.split) for image in source.images] == [("a", "train"), ("b", "val")]
    assert [box.bbox for box in source.images[0].boxes] == [(30, 10, 20, 20)]
    assert problems.found() == ()


@pytest.mark.parametrize("names", ["classes.txt", "obj.names"])
def test_text_files_beside_their_images(root, picture, write, problems, names):
    picture("a.png")
    write("a.txt", LABEL)
    write(names, "cell\nplate\n")
    source = read_yolo(root, problems)
    assert [category.name for category in source.categories] == ["cell", "plate"]
    assert [len(image.boxes) for image in source.images] == [1]


def test_names_from_elsewhere_and_none_at_all(root, picture, write, problems, tmp_path):
    picture("a.png")
    write("a.txt", LABEL)
    with pytest.raises(ValueError, match=r"expected the names of the classes in data\.yaml or classes\.txt"):
        read_yolo(root, problems)
    with pytest.raises(FileNotFoundError, match="expected names of classes"):
        read_yolo(root, problems, names=str(tmp_path / "none.txt"))
    (tmp_path / "names.txt").write_text("cell\n")
    assert read_yolo(root, problems, names=str(tmp_path / "names.txt")).categories == (Category(id=1, name="cell"),)


def test_a_folder_of_both_splits_is_told(root, picture, write, problems):
    picture("images/a.png")
    write("labels/a.txt", LABEL)
    write("data.yaml", "names: [cell]\ntrain: images\nval: images\n")
    assert {image.split for image in read_yolo(root, problems).images} == {"train"}
    assert kinds(problems) == {"folders of both train and val divided anew": 1}


def test_faults_are_counted(root, picture, write, problems):
    for name in ("a", "empty", "bare"):
        picture(f"images/{name}.png")
    lines = ["0 0.5 0.5 0.25 0.5", "1 0.5 0.5 0.1 0.1", "x", "0 0.5", "0 0.5 0.5 0 0", "0 nan 0.5 0.1 0.1", ""]
    write("labels/a.txt", "\n".join(lines))
    write("labels/empty.txt", "")
    write("labels/lost.txt", LABEL)
    write("data.yaml", "names: [cell]\ntrain: nowhere\n")
    source = read_yolo(root, problems)
    assert {image.path.stem: len(image.boxes) for image in source.images} == {"a": 1, "bare": 0, "empty": 0}
    assert kinds(problems) == {
        "boxes of a class without a name skipped": 1,
        "degenerate boxes skipped": 2,
        "images without label file taken as empty": 1,
        "label files without their image left out": 1,
        "lines that are no labels skipped": 2,
        "paths that are not there passed over": 1,
    }


def test_a_line_of_a_polygon_is_the_box_around_it():
    assert parse_line("3 0.1 0.2 0.5 0.2 0.3 0.9") == (3, (0.1, 0.2, 0.5, 0.9))
    assert parse_line("1.0 0.5 0.5 1 1") == (1, (0, 0, 1, 1))
    for line in ("1.5 0 0 1 1", "-1 0 0 1 1", "0 0 0 1 1 0.9", "0", "0 1 2 3 4 5 nan"):
        assert parse_line(line) is None
