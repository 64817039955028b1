"""A teacher's stored maps: of the right pixels, whole or resumed, and refused where there are none."""

from pathlib import Path

import numpy as np
import pytest

from ofa_det.data.augmentation import Augmenter
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.feature_file import FeatureConfig, FeatureHeader, StoredFeatures
from ofa_det.teachers.features import check_maps, maps_of, store_features
from ofa_det.teachers.views import geometry_of, view_seed

from .test_label_file import header as label_header

VIEWS = AugmentationConfig(vertical_flip=0.5, min_magnification=0.5, zoom=1.0)


class CellTeacher:
    """Its maps are the mean colours of each cell, and three sums of them."""

    calls = 0
    resolution = 64

    def features(self, images):
        CellTeacher.calls += 1
        found = {}
        for side in (4, 2):
            cells = images.reshape(len(images), side, 64 // side, side, 64 // side, 3).mean(axis=(2, 4))
            cells = cells.astype(np.float32).transpose(0, 3, 1, 2)
            found[side] = np.concatenate([cells, cells[:, :1] + cells[:, 1:2], -cells[:, 2:]], axis=1)
        return found


@pytest.fixture
def dataset(tiny_root):
    return open_split(DataConfig(root=str(tiny_root)), "train")


def store(folder: Path, dataset, *, shard_images: int = 5, **options) -> StoredFeatures:
    header = FeatureHeader(
        labels=label_header(views=3, seed=4, augmentation=geometry_of(VIEWS)),
        features=FeatureConfig(**{"strides": (16, 32), "channels": 3, "resolution": 64} | options),
        num_images=len(dataset),
        shard_images=shard_images,
    )
    return StoredFeatures(folder / "features", header)


def test_maps_are_of_the_views_that_training_sees(tmp_path, dataset):
    """Three colours span the five channels, so that three components tell the colours but for a linear map."""
    written = store(tmp_path, dataset)
    store_features(CellTeacher(), written, dataset, batch_size=4)
    read = StoredFeatures.read(tmp_path, written.header.labels)
    stored, colours = [], []
    augmenter = Augmenter(geometry_of(VIEWS))
    for image in range(len(dataset)):
        for view in range(3):
            seed = view_seed(4, image, view)
            sample, _ = augmenter([(dataset.image(image), dataset.annotations(image))], resolution=64, seed=seed)
            stored.append(read.of(image, view)[16].reshape(3, -1).T)
            colours.append(CellTeacher().features(sample[None])[4][0, :3].reshape(3, -1).T)
    found, expected = np.concatenate(stored).astype(np.float64), np.concatenate(colours).astype(np.float64)
    inner = (np.abs(found) < 127).all(axis=1)  # What was not clipped.
    assert inner.mean() > 0.9
    design = np.column_stack([found[inner], np.ones(int(inner.sum()))])
    fitted = design @ np.linalg.lstsq(design, expected[inner], rcond=None)[0]
    assert np.abs(fitted - expected[inner]).mean() < 2
    assert np.corrcoef(found, rowvar=False)[0, 1] == pytest.approx(0, abs=0.2)


def test_shards_that_are_there_are_not_made_again(tmp_path, dataset):
    whole, resumed = store(tmp_path / "a", dataset), store(tmp_path / "b", dataset)
    store_features(CellTeacher(), whole, dataset, batch_size=4)
    store_features(CellTeacher(), resumed, dataset, batch_size=4)
    resumed.shards[1].unlink()
    with pytest.raises(ValueError, match="--resume"):
        StoredFeatures.read(tmp_path / "b", resumed.header.labels)
    before = CellTeacher.calls
    store_features(CellTeacher(), resumed, dataset, batch_size=4)
    assert CellTeacher.calls - before == 3 + 4  # The sampled views, and one shard of 15.
    for one, other in zip(whole.shards, resumed.shards, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert whole.bytes == len(dataset) * 3 * 3 * (4 * 4 + 2 * 2)
    assert 0 < sum(path.stat().st_size for path in whole.shards) - whole.bytes < 200 * len(whole.shards)


@pytest.mark.parametrize(
    ("options", "message"), [({"strides": (8,)}, "16, 32, found 8"), ({"channels": 6}, "at most 5")]
)
def test_maps_that_the_teacher_has_not_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check_maps(CellTeacher(), FeatureConfig(**{"strides": (16,), "channels": 3, "resolution": 64} | options))


def test_features_of_other_options_are_not_gone_on_with(tmp_path, dataset):
    begun = store(tmp_path, dataset)
    begun.write_header()
    begun.check()
    with pytest.raises(ValueError, match=r"expected features.stored 32 in .*features.json, found None; choose another"):
        store(tmp_path, dataset, stored=32).check()


class RampTeacher:
    """Its maps say how far to the right a cell is, from 0 to 1, and of which side they are."""

    resolution = None

    def features(self, images):
        def ramp(side):
            right = np.tile((np.arange(side) + 0.5) / side, (side, 1))
            return np.tile(np.stack([right, np.full((side, side), side)])[None], (len(images), 1, 1, 1)).astype(
                np.float32
            )

        return {side: ramp(side) for side in (8, 4)}


@pytest.mark.parametrize(
    ("stride", "stored", "side", "source"),
    [(8, None, 8, 8), (8, 48, 6, 8), (16, 48, 3, 4), (16, 64, 4, 4), (6, None, 11, 8)],
)
def test_maps_are_those_of_the_nearest_stride_in_the_cells_that_are_stored(stride, stored, side, source):
    wanted = FeatureConfig(strides=(stride,), resolution=64, stored=stored)
    maps = maps_of(RampTeacher(), np.zeros((2, 64, 64, 3), np.uint8), wanted)
    right, of = maps[stride][1]
    assert maps[stride].shape == (2, 2, side, side)
    assert of == pytest.approx(source)
    expected = (np.arange(side) + 0.5) / side
    np.testing.assert_allclose(right[0, 1:-1], expected[1:-1], atol=0.5 / source)
    assert np.abs(right[0] - expected).max() < 1 / source


def test_features_of_other_labels_are_refused(tmp_path, dataset):
    written = store(tmp_path, dataset)
    written.write_header()
    with pytest.raises(ValueError, match="make both anew"):
        StoredFeatures.read(tmp_path, label_header(views=2))
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"features\.strides"):
        StoredFeatures.read(tmp_path / "none", written.header.labels)


def test_configs_out_of_range_are_refused():
    with pytest.raises(ValueError, match="strides"):
        FeatureConfig(strides=(4, 4))
    with pytest.raises(ValueError, match="channels"):
        FeatureConfig(channels=0)
