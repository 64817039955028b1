import numpy as np
import pytest

from ofa_det.data.image_names import FolderGuard, name_fault
from ofa_det.data.images import stretch
from ofa_det.data.loading import image_batches


@pytest.mark.parametrize(
    "name", ["a.jpg", "sub/a.jpg", "a..b.jpg", "...jpg", "bär.png", "a b.png", "sub/./a.jpg", "~.png"]
)
def test_names_that_stay_within(name):
    assert name_fault(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "..", "../a", "a/../../b", "/a", "//a/b", "\\\\host\\a", "\\a", "C:a", "c:\\a", "a\\..\\b", "a\0b", "\udcff"],
)
def test_names_that_do_not(name):
    assert name_fault(name) is not None


def test_links_are_followed_to_where_they_end(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside / "sub", outside):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"x")
    (inside / "within.png").symlink_to("sub/a.png")
    (inside / "without.png").symlink_to(outside / "a.png")
    (inside / "folder").symlink_to(outside)
    (inside / "dead.png").symlink_to("nothing.png")
    (tmp_path / "alias").symlink_to(inside)
    for root in (inside, tmp_path / "alias"):
        guard = FolderGuard(root)
        assert [guard.holds(name) for name in ("sub/a.png", "within.png")] == [True, True]
        assert [guard.holds(name) for name in ("without.png", "folder/a.png")] == [False, False]
        for name in ("none.png", "dead.png"):
            with pytest.raises(FileNotFoundError):
                guard.holds(name)
        with pytest.raises(ValueError, match="no file"):
            guard.holds("sub")


def test_a_data_set_of_links_within_its_folder_opens(coco):
    coco.add_image(1)
    (coco.images / "1.png").rename(coco.images / "kept.png")
    (coco.images / "1.png").symlink_to("kept.png")
    assert coco.open().image(0).shape == (40, 80, 3)


def test_a_stated_size_does_not_decide_how_much_memory_a_broken_image_takes(coco, monkeypatch):
    path = coco.add_image(1, width=13_000, height=6500)
    path.write_bytes(path.read_bytes()[:200])  # The header is whole.
    dataset = coco.open()
    assert dataset.image_size(0) == (6500, 13_000)
    read = []
    monkeypatch.setattr(
        "ofa_det.data.loading.stretch", lambda image, size: read.append(image.shape) or stretch(image, size)
    )
    (images,) = image_batches(dataset, size=(32, 32), batch_size=1)
    assert np.array_equal(images, np.full((1, 32, 32, 3), 128, np.uint8))
    assert read == [(2048, 4096, 3)]
