import json
import logging
from dataclasses import replace

import pytest

from ofa_det.arch.levels import AnchorFit, HeadConfig, LevelSpec, ssd_anchor_sizes, with_anchors
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.records import write_record
from ofa_det.data.anchors import AnchorConfig, choose_anchors, fit_to_dataset

LEVELS = (LevelSpec(feature="stages.2", stride=16), LevelSpec(feature="stages.4", stride=64))
SPACE = replace(read_space("ssdlite_mbv3"), resolutions=(256, 320), levels=LEVELS)
SMALL_AND_LARGE = (((0.2, 0.3),), ((0.6, 0.7),))


@pytest.fixture
def dataset(coco):
    """Boxes of 0.2 x 0.3 and of 0.6 x 0.7 of their images."""
    coco.add_image(1)
    for x in (0, 8, 16):
        coco.add_box(1, [x, 0, 16, 12])
        coco.add_box(1, [x, 8, 48, 28])
    return coco.open()


def choose(dataset, space=SPACE, **config):
    return choose_anchors(AnchorConfig(**config), dataset, space, seed=0)


def test_anchors_are_fitted_to_the_boxes_and_the_cells(dataset, caplog):
    with caplog.at_level(logging.INFO):
        assert choose(dataset, count=2) == SMALL_AND_LARGE
    assert "100.0 % of them above IoU 0.5" in caplog.text
    # At four times the resolution cells are a quarter as wide, and the coarse level suits both.
    assert choose(dataset, replace(SPACE, resolutions=(320, 1280)), count=2)[1] == ((0.2, 0.3), (0.6, 0.7))


def test_a_shared_head_gets_as_many_anchors_on_every_level(dataset):
    shared = replace(SPACE, resolutions=(1280,), head=HeadConfig(shared=True))
    assert choose(dataset, shared, count=2) == SMALL_AND_LARGE


def test_stock_anchors_need_no_boxes():
    assert choose(None, source="ssd") == ssd_anchor_sizes(2)


def test_stock_anchors_need_several_levels():
    with pytest.raises(ValueError, match=r"two or more levels for stock anchors, found 1; set --anchors\.source fit"):
        choose(None, replace(SPACE, levels=LEVELS[:1]), source="ssd")
    shared = replace(SPACE, head=HeadConfig(shared=True))
    assert [len(sizes) for sizes in choose(None, shared, source="ssd")] == [3, 3]


def test_anchors_that_a_space_states_are_kept():
    stated = replace(SPACE, levels=with_anchors(LEVELS, SMALL_AND_LARGE))
    assert choose(None, stated) == SMALL_AND_LARGE
    for source in ("ssd", "anchors.json"):
        with pytest.raises(ValueError, match=f"one place, .* of the space and in {source}; leave out --anchors.source"):
            choose(None, stated, source=source)
    with pytest.raises(ValueError, match=r"on every level or on none, found them on stages\.2 alone"):
        choose(None, replace(SPACE, levels=(stated.levels[0], LEVELS[1])))


def test_a_file_gives_what_was_fitted(dataset, tmp_path):
    fit = fit_to_dataset(dataset, SPACE, count=2, seed=0)
    assert fit.mean_iou > fit.stock_mean_iou
    write_record(tmp_path / "anchors.json", fit)
    assert choose(None, source=str(tmp_path / "anchors.json")) == fit.anchor_sizes == SMALL_AND_LARGE


def test_mistakes_are_one_line(dataset, tmp_path):
    path = tmp_path / "anchors.json"
    with pytest.raises(FileNotFoundError, match=r"expected anchors from fit, ssd or a JSON file .*, found '.*json'"):
        choose(dataset, source=str(path))
    one_level = AnchorFit(anchor_sizes=(((0.1, 0.1),),), mean_iou=1, recall=1, stock_mean_iou=1, stock_recall=1)
    write_record(path, one_level)
    with pytest.raises(ValueError, match=r"expected anchors of 2 levels in .*anchors\.json, found 1; fit them"):
        choose(dataset, source=str(path))
    path.write_text(json.dumps({"schema_version": 2, "anchor_sizes": 3}))
    with pytest.raises(ValueError, match=r"anchors\.json: expected"):
        choose(dataset, source=str(path))
    with pytest.raises(ValueError, match="expected count >= 1, found 0"):
        AnchorConfig(count=0)
