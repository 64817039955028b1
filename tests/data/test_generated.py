import numpy as np
import pytest

from ofa_det.data.generated import CATEGORIES, generate_dataset
from ofa_det.data.splits import DataConfig, open_split


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return generate_dataset(tmp_path_factory.mktemp("data"), num_train=61, num_val=3, image_size=(96, 128), seed=4)


def test_it_opens_without_a_fault(root, caplog):
    config = DataConfig(root=str(root))
    train, val = open_split(config, "train"), open_split(config, "val")
    assert (len(train), len(val)) == (61, 3)
    assert train.categories == val.categories == CATEGORIES
    assert train.image(0).shape == (96, 128, 3)
    assert not caplog.records


def test_it_has_what_real_data_has(root):
    dataset = open_split(DataConfig(root=str(root)), "train")
    truth = dataset.ground_truth()
    boxes = [annotation["bbox"] for annotation in truth["annotations"] if not annotation["iscrowd"]]
    sides = np.sqrt([w * h for _, _, w, h in boxes])
    assert {annotation["category_id"] for annotation in truth["annotations"]} == {c.id for c in CATEGORIES}
    assert any(annotation["iscrowd"] for annotation in truth["annotations"])
    assert any(len(dataset.annotations(index)) == 0 for index in range(len(dataset)))
    assert sides.min() > 6
    assert sides.max() / sides.min() > 3
    ids = [category.id for category in CATEGORIES]
    assert ids != list(range(ids[0], ids[0] + len(ids)))


def test_the_same_seed_gives_the_same_files(root, tmp_path):
    again = generate_dataset(tmp_path / "again", num_train=61, num_val=3, image_size=(96, 128), seed=4)
    other = generate_dataset(tmp_path / "other", num_train=2, num_val=1, image_size=(96, 128), seed=5)
    names = ["annotations/instances_train2017.json", "train2017/000001.jpg", "val2017/000003.jpg"]
    assert all((root / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert (root / names[1]).read_bytes() != (other / names[1]).read_bytes()
    assert (root / names[1]).read_bytes() != (root / "val2017/000001.jpg").read_bytes()


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="expected num_train >= 1"):
        generate_dataset(tmp_path, num_train=0, num_val=1)
    with pytest.raises(ValueError, match="expected images of at least 96 x 96 px"):
        generate_dataset(tmp_path, num_train=1, num_val=1, image_size=(40, 400))
