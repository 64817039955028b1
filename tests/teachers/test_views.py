"""The geometry of stored augmentations: what is labelled is where training sees it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofa_det.data.augmentation import Augmenter
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.label_file import TeacherLabels
from ofa_det.teachers.run import label_with
from ofa_det.teachers.views import check_views, geometry_of, view_seed

from .conftest import FakeTeacher, opened

VIEWS = 24
STRONG = AugmentationConfig(
    vertical_flip=0.4,
    min_magnification=0.4,
    max_magnification=2.5,
    iou_crop=0.2,
    zoom_out=0.2,
    colour_jitter=0.0,
    hue_jitter=0.0,
)


def label(root: Path, output: Path, augmentation: AugmentationConfig = STRONG, views: int = VIEWS) -> TeacherLabels:
    data = DataConfig(root=str(root))
    config = LabelConfig(
        teacher="fake", data=data, output=str(output), views=views, augmentation=augmentation, seed=5, report=False
    )
    label_with(opened(FakeTeacher()), open_split(data, "train"), config)
    return TeacherLabels.read(output)


def test_boxes_of_a_view_lie_where_the_training_sample_has_the_object(data_root: Path, tmp_path: Path) -> None:
    stored = label(data_root, tmp_path / "labels")
    dataset = open_split(DataConfig(root=str(data_root)), "train")
    augmenter = Augmenter(STRONG)
    resolution, seen, flips = 160, 0, set()
    for row in range(len(dataset)):
        for view in range(VIEWS):
            images = [(dataset.image(row), dataset.annotations(row))]
            sample, _ = augmenter(images, resolution=resolution, seed=view_seed(5, row, view))
            rows, columns = np.nonzero((sample[..., 0] > 175) & (sample[..., 1] < 70))
            found = stored.of(row, view, score_threshold=0.5)
            found = found.boxes[found.classes[:, 0] == 2]
            assert len(found) == min(1, len(rows))
            if len(rows):
                corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / resolution
                assert found[0] == pytest.approx(corners, abs=3 / resolution)
                seen += 1
                flips.add(tuple(stored.flips[row, view].tolist()))
    assert seen > 150
    assert {flip[0] for flip in flips} == {flip[1] for flip in flips} == {0, 1}


def test_seeds_follow_from_seed_image_and_view_alone() -> None:
    seeds = {view_seed(seed, image, view) for seed in range(3) for image in range(20) for view in range(5)}
    assert len(seeds) == 300
    assert view_seed(0, 1, 2) == view_seed(0, 1, 2) != view_seed(0, 2, 1)
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_training_has_to_use_what_was_stored(data_root: Path, tmp_path: Path) -> None:
    stored = label(data_root, tmp_path / "labels", views=2)
    dataset = open_split(DataConfig(root=str(data_root)), "train")
    rows = stored.rows_of(dataset)
    assert stored.header.augmentation == geometry_of(STRONG)
    check_views(stored, dataset, rows, replace(STRONG, colour_jitter=0.3, hue_jitter=0.1))
    check_views(stored, dataset.subset(np.array([4, 1])), rows[[4, 1]], STRONG)
    for wrong, message in (
        ({"zoom": 0.1}, r"expected augmentation\.zoom 0\.6, with which the views were labelled, found 0\.1"),
        ({"mosaic": 0.5}, "expected augmentation.mosaic 0 with stored views, found 0.5"),
        ({"reduced_decoding": True}, "expected augmentation.reduced_decoding false"),
    ):
        with pytest.raises(ValueError, match=message):
            check_views(stored, dataset, rows, replace(STRONG, **wrong))
    with pytest.raises(ValueError, match="labels of whole images; pass --views"):
        check_views(label(data_root, tmp_path / "whole", views=0), dataset, rows, STRONG)


def test_boxes_that_were_changed_since_are_noticed(data_root: Path, tmp_path: Path) -> None:
    """SSD's crops depend on the boxes."""
    crops = replace(STRONG, iou_crop=1.0)
    stored = label(data_root, tmp_path / "labels", crops, views=4)
    file = data_root / "annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        annotation["bbox"] = [60, 50, 9, 9]
    file.write_text(json.dumps(content))
    dataset = open_split(DataConfig(root=str(data_root)), "train")
    with pytest.raises(ValueError, match=r"as it was labelled, found another window; were its boxes changed\?"):
        check_views(stored, dataset, stored.rows_of(dataset), crops)
