import math

import pytest

from ofa_det.arch.detector import BackboneConfig, DetectorConfig, ssd_anchor_sizes


def test_ssd_anchors_by_hand() -> None:
    """TF's ssdlite_mobilenet_v3 configuration: scales 0.2, 0.35, ..., 0.95, reduced lowest level."""
    levels = ssd_anchor_sizes()
    assert [len(level) for level in levels] == [3, 6, 6, 6, 6, 6]
    root = math.sqrt(2)
    assert levels[0][0] == pytest.approx((0.1, 0.1))
    assert levels[0][1] == pytest.approx((0.2 * root, 0.2 / root))
    assert levels[0][2] == pytest.approx((0.2 / root, 0.2 * root))
    assert levels[1][0] == pytest.approx((0.35, 0.35))
    assert levels[1][3] == pytest.approx((0.35 * math.sqrt(3), 0.35 / math.sqrt(3)))
    assert levels[1][5] == pytest.approx((math.sqrt(0.35 * 0.5),) * 2)
    assert levels[5][0] == pytest.approx((0.95, 0.95))
    # The level above the last has scale 1 (SSD, section 2.2).
    assert levels[5][5] == pytest.approx((math.sqrt(0.95),) * 2)


def test_areas_follow_the_scale_whatever_the_ratio() -> None:
    for level in ssd_anchor_sizes(0.08, 0.9)[1:]:
        areas = [width * height for width, height in level[:5]]
        assert areas == pytest.approx([areas[0]] * 5)


@pytest.mark.parametrize(("low", "high"), [(0, 0.9), (0.5, 0.5), (0.2, 1.1), (-0.1, 0.5)])
def test_impossible_scales_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="min_scale"):
        ssd_anchor_sizes(low, high)


def test_configs_are_values() -> None:
    assert DetectorConfig(num_classes=3) == DetectorConfig(num_classes=3)
    assert len({DetectorConfig(num_classes=3), DetectorConfig(num_classes=3), DetectorConfig(num_classes=4)}) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes >= 1, found 0"),
        ({"extra_widths": (512, 256)}, r"4 extra_widths, found \[512, 256\]"),
        ({"anchor_sizes": (((0.1, 0.1),),)}, "each of 6 levels"),
        ({"anchor_sizes": ((),) * 6}, "each of 6 levels"),
        ({"anchor_sizes": (((0.1, -0.1),),) * 6}, "positive anchor sizes"),
    ],
)
def test_broken_detector_configs_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectorConfig(**({"num_classes": 3} | changes))


@pytest.mark.parametrize(("field", "value"), [("width_mult", 0.0), ("width_mult", -1.0), ("last_width", 4)])
def test_broken_backbones_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        BackboneConfig(**{field: value})
