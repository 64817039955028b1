import json
from dataclasses import replace

import numpy as np
import pytest

from ofa_det.arch.levels import AnchorFit, HeadConfig, LevelSpec, ssd_anchor_sizes, with_anchors
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.records import write_record
from ofa_det.data.anchors import AnchorConfig, anchor_recall, anchor_summary, fit_space, fit_to_dataset

LEVELS = (LevelSpec(feature="stages.2", stride=16), LevelSpec(feature="last", stride=64))
SPACE = replace(read_space("ssdlite_mbv3"), resolutions=(256, 320), levels=LEVELS)
SSDLITE = read_space("ssdlite_mbv3")
SMALL_AND_LARGE = (((0.2, 0.3),), ((0.6, 0.7),))
CELLS = ((16, 12), (48, 28))
"""0.2 x 0.3 and 0.6 x 0.7 of the images, in pixels."""


@pytest.fixture
def dataset(coco):
    """Three small objects of one class, three large ones of another."""
    coco.add_image(1)
    for x in (0, 8, 16):
        coco.add_box(1, [x, 0, *CELLS[0]])
        coco.add_box(1, [x, 8, *CELLS[1]], category_id=7)
    return coco.open()


@pytest.fixture
def small_objects(coco):
    """Objects of 0.2 x 0.3 alone."""
    coco.add_image(1)
    for x in (0, 8, 16):
        coco.add_box(1, [x, 0, *CELLS[0]])
    return coco.open()


def sizes_of(dataset, space=SPACE, **config):
    fitted = fit_space(AnchorConfig(**config), dataset, space, seed=0)
    return tuple(level.anchors for level in fitted.levels)


def test_anchors_are_fitted_to_the_boxes_and_the_cells(dataset):
    fitted = fit_space(AnchorConfig(count=2), dataset, SPACE, seed=0)
    small, large = (level.anchors for level in fitted.levels)
    assert small == (pytest.approx((0.2, 0.3), rel=0.15),)
    assert large == (pytest.approx((0.6, 0.7), rel=0.15),)
    line = anchor_summary(dataset, SPACE, fitted)
    assert line.startswith("100.0 % of the training boxes have an anchor above IoU 0.5 where it stands; the fewest of ")
    # At four times the resolution cells are a quarter as wide: the coarse level suits both, and the fine one goes.
    fine = fit_space(AnchorConfig(count=2), dataset, replace(SPACE, resolutions=(320, 1280)), seed=0)
    assert [(level.feature, len(level.anchors)) for level in fine.levels] == [("last", 2)]


def test_the_summary_names_the_worst_class_and_the_levels_left_out(dataset):
    space = replace(SSDLITE, resolutions=(320,))
    line = anchor_summary(dataset, space, fit_space(AnchorConfig(count=2), dataset, space, seed=0))
    assert "left out, since no anchor suits them: the levels of stride 32, 128, 256, 512" in line
    two = replace(SPACE, levels=with_anchors(LEVELS, (((0.2, 0.3),), ((0.1, 0.1),))))
    # "early" is the class of the small boxes, "late" that of the large ones, which have no anchor.
    assert "the fewest of 'late', 0.0 % of 3" in anchor_summary(dataset, two, two)


def test_levels_that_no_object_suits_are_left_out_with_their_nodes(dataset):
    space = replace(SSDLITE, resolutions=(320,))
    fitted = fit_space(AnchorConfig(count=2), dataset, space, seed=0)
    # The shorter side of the large objects, 0.6, spans three cells of stride 64 and 1.8 of stride 128.
    assert [level.stride for level in fitted.levels] == [16, 64]
    assert [node.name for node in fitted.neck] == ["extra0.reduce", "extra0.depthwise", "extra0.expand"]
    assert fitted.head == space.head


def test_the_backbone_stays_read_to_its_end(small_objects):
    space = replace(SSDLITE, resolutions=(320,))
    fit = fit_to_dataset(small_objects, space, count=3, seed=0)
    fitted = space.with_anchors(fit.anchor_sizes)
    # The objects are for the first level, which reads the beginning of the last stage; four cells of stride 32 are 0.4.
    assert [level.feature for level in fitted.levels] == ["stages.5.0.expand", "last"]
    assert fit.anchor_sizes[1:] == (((0.4, 0.4),), (), (), (), ())
    assert fitted.neck == ()


def test_levels_that_share_a_head_all_stay(small_objects):
    shared = replace(SSDLITE, resolutions=(320,), head=HeadConfig(shared=True))
    assert [len(sizes) for sizes in sizes_of(small_objects, shared, count=12)] == [2] * 6
    assert fit_space(AnchorConfig(), small_objects, shared, seed=0).neck == shared.neck


def test_stock_anchors(dataset):
    assert sizes_of(dataset, source="ssd") == ssd_anchor_sizes(2)
    shared = replace(SPACE, head=HeadConfig(shared=True))
    assert [len(sizes) for sizes in sizes_of(dataset, shared, source="ssd")] == [3, 3]
    with pytest.raises(ValueError, match=r"two or more levels for stock anchors, found 1; set --anchors\.source fit"):
        sizes_of(dataset, replace(SPACE, levels=LEVELS[:1]), source="ssd")


def test_anchors_scaled_to_the_smallest_objects(dataset, small_objects):
    for objects in (dataset, small_objects):
        sides = np.sqrt(objects.box_sizes().prod(axis=1))
        least = round(float(np.quantile(sides, 0.05)), 2)
        assert sizes_of(objects, source="scaled") == ssd_anchor_sizes(2, min_scale=least, reduced=False)
    assert [len(sizes) for sizes in sizes_of(dataset, source="scaled")] == [6, 6]
    with pytest.raises(ValueError, match="two or more levels for stock anchors, found 1"):
        sizes_of(dataset, replace(SPACE, levels=LEVELS[:1]), source="scaled")


def test_anchors_that_a_space_states_are_kept(dataset):
    stated = replace(SPACE, levels=with_anchors(LEVELS, SMALL_AND_LARGE))
    assert fit_space(AnchorConfig(), dataset, stated, seed=0) == stated
    for source in ("ssd", "anchors.json"):
        with pytest.raises(ValueError, match=f"one place, .* of the space and in {source}; leave out --anchors.source"):
            sizes_of(dataset, stated, source=source)
    with pytest.raises(ValueError, match=r"on every level or on none, found them on stages\.2 alone"):
        sizes_of(dataset, replace(SPACE, levels=(stated.levels[0], LEVELS[1])))


def test_a_file_gives_what_was_fitted_and_leaves_out_the_same_levels(dataset, tmp_path):
    space = replace(SSDLITE, resolutions=(320,))
    fit = fit_to_dataset(dataset, space, count=2, seed=0)
    assert [len(sizes) for sizes in fit.anchor_sizes].count(0) == 4
    write_record(tmp_path / "anchors.json", fit)
    fitted = fit_space(AnchorConfig(count=2), dataset, space, seed=0)
    assert fit_space(AnchorConfig(source=str(tmp_path / "anchors.json")), dataset, space, seed=0) == fitted


@pytest.mark.parametrize(
    "other",
    [LevelSpec(feature="stages.3", stride=16), LevelSpec(feature="stages.2", stride=8)],
    ids=["feature", "stride"],
)
def test_a_file_for_as_many_levels_of_another_space_is_refused(dataset, tmp_path, other):
    path = tmp_path / "anchors.json"
    write_record(path, fit_to_dataset(dataset, SPACE, count=2, seed=0))
    levels = (other, LEVELS[1])
    with pytest.raises(
        ValueError, match=rf"levels {other.feature} of stride {other.stride}, last .*with --space of fit"
    ):
        sizes_of(dataset, replace(SPACE, levels=levels), source=str(path))


def test_with_a_file_too_the_backbone_stays_read_to_its_end(small_objects, tmp_path):
    space, path = replace(SSDLITE, resolutions=(320,)), tmp_path / "anchors.json"
    fit = fit_to_dataset(small_objects, space, count=3, seed=0)
    first_alone = tuple(level if index == 0 else replace(level, anchors=()) for index, level in enumerate(fit.levels))
    write_record(path, replace(fit, levels=first_alone))
    assert sizes_of(small_objects, space, source=str(path)) == (fit.levels[0].anchors, ((0.4, 0.4),))


def test_a_fit_is_compared_with_the_stock_anchors(dataset):
    fit = fit_to_dataset(dataset, SPACE, count=2, seed=0)
    assert fit.recall == anchor_recall(dataset, SPACE, fit.anchor_sizes)
    assert fit.stock_recall == anchor_recall(dataset, SPACE, ssd_anchor_sizes(2))
    assert [(group.boxes, group.recalled) for group in fit.recall.classes] == [(3, 3), (3, 3)]


def test_mistakes_are_one_line(dataset, tmp_path):
    path = tmp_path / "anchors.json"
    with pytest.raises(FileNotFoundError, match=r"fit, ssd, scaled or a JSON file .*, found '.*json'"):
        sizes_of(dataset, source=str(path))
    fit = fit_to_dataset(dataset, SPACE, count=2, seed=0)
    write_record(path, replace(fit, levels=fit.levels[:1]))
    with pytest.raises(
        ValueError, match=r"levels stages\.2 of stride 16, last of stride 64 in .*, found stages\.2 of st"
    ):
        sizes_of(dataset, source=str(path))
    write_record(path, replace(fit, levels=with_anchors(LEVELS, (SMALL_AND_LARGE[0], ()))))
    shared = replace(SPACE, head=HeadConfig(shared=True))
    with pytest.raises(ValueError, match=r"every level in .*json, since the levels share a head, found \[1, 0\]; fit"):
        sizes_of(dataset, shared, source=str(path))
    write_record(path, replace(fit, levels=LEVELS))
    with pytest.raises(
        ValueError, match=r"anchors on one level or more in .*anchors\.json, found none; fit them to this"
    ):
        sizes_of(dataset, source=str(path))
    path.write_text(json.dumps({"schema_version": AnchorFit.SCHEMA_VERSION, "levels": 3}))
    with pytest.raises(ValueError, match=r"anchors\.json: expected"):
        sizes_of(dataset, source=str(path))
    with pytest.raises(ValueError, match="expected count >= 1, found 0"):
        AnchorConfig(count=0)
