from pathlib import PurePath

import pytest

from ofa_det.data.formats.source import ImageIndex, files_below, split_of


def test_links_to_folders_are_followed_to_an_end(root, picture, write, tmp_path):
    picture("a/1.png")
    write(".hidden/2.png", b"")
    write("__MACOSX/3.png", b"")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/4.png").write_bytes(b"")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "a/above").symlink_to(root)
    (root / "a/dead.png").symlink_to("nowhere")
    assert [path.relative_to(root).as_posix() for path in files_below(root)] == ["a/1.png", "linked/4.png"]


def test_of_several_images_the_nearest_is_found(root, picture):
    for name in ("train/a.png", "valid/a.png", "valid/a.b.png"):
        picture(name)
    index = ImageIndex(root)
    assert index.find("a", near=root / "valid/labels/a.xml") == root / "valid/a.png"
    assert index.find("..\\x/a.png", near=root / "train/a.xml") == root / "train/a.png"
    assert index.find("a.b", near=root / "train/a.xml") == root / "valid/a.b.png"
    assert index.find("c", near=root) is None


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train_labels.csv", "train"),
        ("valid/_annotations.csv", "val"),
        ("annotations/instances_test2017.json", "test"),
        ("images/train-2", "train"),
        ("a/b.csv", None),
        ("constraint/protest.csv", None),
    ],
)
def test_the_split_that_a_name_tells(path, split):
    assert split_of(PurePath("/train/root", path), PurePath("/train/root")) == split
