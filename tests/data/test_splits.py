import json
from unittest.mock import Mock

import pytest

from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import DataConfig, open_split, open_splits


@pytest.fixture
def root(coco):
    for image_id in range(1, 41):
        coco.add_image(image_id)
    folder = coco.images.parent
    for name in ("train", "val"):
        (folder / f"{name}.json").write_text(json.dumps(coco.content))
    return folder


def config(root, **changes) -> DataConfig:
    names = {f"{split}_{kind}": value for split in ("train", "val") for kind, value in (("images", "images"),)}
    return DataConfig(root=str(root), train_annotations="train.json", val_annotations="val.json", **names, **changes)


def ids(dataset) -> list[int]:
    return [dataset.image_id(index) for index in range(len(dataset))]


def test_train_is_fit_and_holdout(root):
    data = config(root, holdout_fraction=0.25)
    fit, holdout = ids(open_split(data, "fit")), ids(open_split(data, "holdout"))
    assert len(holdout) == 10
    assert sorted(fit + holdout) == ids(open_split(data, "train")) == list(range(1, 41))
    assert ids(open_split(data, "holdout")) == holdout


def test_splits_that_open_together_read_their_file_once(root, monkeypatch):
    data = config(root, holdout_fraction=0.25)
    splits = ["holdout", "val", "fit", "train"]
    alone = [ids(open_split(data, split)) for split in splits]
    read = Mock(side_effect=CocoDataset.open)
    monkeypatch.setattr(CocoDataset, "open", read)
    assert [ids(dataset) for dataset in open_splits(data, splits)] == alone
    assert sorted(call.args[0].name for call in read.call_args_list) == ["train.json", "val.json"]


def test_a_larger_holdout_contains_the_smaller(root):
    small, large = (set(ids(open_split(config(root, holdout_fraction=f), "holdout"))) for f in (0.1, 0.3))
    assert small < large


def test_without_a_holdout_everything_is_fit(root):
    assert ids(open_split(config(root), "fit")) == list(range(1, 41))
    with pytest.raises(ValueError, match="change holdout_fraction"):
        open_split(config(root), "holdout")


def test_mistakes_are_one_line(root, tmp_path):
    with pytest.raises(ValueError, match="expected 0 <= holdout_fraction < 1, found 1"):
        config(root, holdout_fraction=1.0)
    with pytest.raises(ValueError, match="expected a split of train, val, fit, holdout, found 'test'"):
        open_split(config(root), "test")
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        open_split(config(tmp_path / "none"), "val")
    (root / "val.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"val\.json"):
        open_split(config(root), "val")


def test_a_limit_takes_the_first_images(root):
    data = config(root, limit=8, holdout_fraction=0.25)
    assert ids(open_split(data, "val")) == ids(open_split(data, "train")) == list(range(1, 9))
    assert len(open_split(data, "holdout")) == 2
    with pytest.raises(ValueError, match="limit >= 1, found 0"):
        config(root, limit=0)
