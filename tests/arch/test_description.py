from dataclasses import replace

import pytest

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space

SPACE = read_space("ssdlite_mbv3_tiny")
DETECTOR = DetectorConfig.of(SPACE, num_classes=2, anchor_sizes=ssd_anchor_sizes())
CATEGORIES = (Category(id=1, name="ring"), Category(id=4, name="star"))


def test_the_file_has_a_column_for_every_id_up_to_the_greatest() -> None:
    subnet = SPACE.smallest()
    description = ModelDescription(
        detector=DETECTOR, subnet=subnet, categories=CATEGORIES, postprocess=PostProcessConfig()
    )
    assert description.columns().category_ids == (1, None, None, 4)
    plan = description.shipped_plan(subnet)
    assert [plan[name].out_channels for name in plan.score_outputs] == [4 * 3] + [4 * 6] * 5
    assert description.columns("compact").category_ids == (1, 4)
    compact = description.shipped_plan(subnet, "compact")
    assert [compact[name].out_channels for name in compact.score_outputs] == [2 * 3] + [2 * 6] * 5


def test_a_space_alone_tells_what_a_model_costs() -> None:
    assumed = ModelDescription.assumed(SPACE, num_classes=2)
    assert assumed.detector == DetectorConfig.of(SPACE, num_classes=2, anchor_sizes=SPACE.stock_anchors())
    assert [(category.id, category.name) for category in assumed.categories] == [(1, "1"), (2, "2")]
    assert (assumed.subnet, assumed.postprocess) == (None, PostProcessConfig())
    stated = ModelDescription.assumed(assumed.detector.space, num_classes=2, subnet=SPACE.smallest())
    assert stated == replace(assumed, subnet=SPACE.smallest())  # Anchors of its own are not replaced.
    one_each = tuple(level[:1] for level in SPACE.stock_anchors())
    assert ModelDescription.assumed(SPACE, num_classes=2, anchor_sizes=one_each).detector.anchor_sizes == one_each


def test_as_many_categories_as_classes() -> None:
    with pytest.raises(ValueError, match="expected 2 categories, found 1"):
        ModelDescription(detector=DETECTOR, subnet=None, categories=CATEGORIES[:1], postprocess=PostProcessConfig())


def test_unused_classes_need_a_threshold_above_zero() -> None:
    rest = {"detector": DETECTOR, "subnet": None, "postprocess": PostProcessConfig(score_threshold=0)}
    with pytest.raises(ValueError, match=r"score_threshold > 0, .* gaps, .* found 0; set --postprocess\.score_thr"):
        ModelDescription(categories=CATEGORIES, **rest)
    dense = (CATEGORIES[0], Category(id=2, name="star"))
    assert not ModelDescription(categories=dense, **rest).columns().has_unused


@pytest.mark.parametrize(
    "values",
    [{"score_threshold": -0.1}, {"iou_threshold": 1.1}, {"max_detections": 0}, {"detections_per_class": 0}],
)
def test_broken_postprocessing_is_refused_by_name(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        PostProcessConfig(**values)
