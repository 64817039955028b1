from typing import Any

import pytest

from ofa_det.detection.assigners import AtssAssigner, IouAssigner, TaskAlignedAssigner
from ofa_det.detection.assignment import AssignerConfig, make_assigner


def test_a_config_gives_the_assigner_of_its_kind_with_the_options_that_it_uses() -> None:
    options: Any = {
        "scores": "one",
        "positive_iou": 0.7,
        "ignored_iou": 0.3,
        "best_anchors": 2,
        "candidates": 7,
        "score_power": 1.5,
        "iou_power": 4.0,
        "ignored_coverage": 0.25,
    }
    assert make_assigner(AssignerConfig(kind="iou", **options)) == IouAssigner(
        positive_iou=0.7, ignored_iou=0.3, best_anchors=2, scores="one", ignored_coverage=0.25
    )
    assert make_assigner(AssignerConfig(kind="atss", **options)) == AtssAssigner(
        candidates=7, scores="one", ignored_coverage=0.25
    )
    assert make_assigner(AssignerConfig(kind="task_aligned", **options)) == TaskAlignedAssigner(
        candidates=7, score_power=1.5, iou_power=4.0, ignored_coverage=0.25
    )


@pytest.mark.parametrize(
    ("mistake", "name"),
    [
        ({"positive_iou": 0.4}, "positive_iou"),
        ({"ignored_iou": 0.0}, "ignored_iou"),
        ({"best_anchors": 0}, "best_anchors"),
        ({"candidates": 0}, "candidates"),
        ({"iou_power": 0.0}, "iou_power"),
        ({"ignored_coverage": 0.0}, "0 < ignored_coverage <= 1, found 0.0"),
        ({"ignored_coverage": 1.5}, "0 < ignored_coverage <= 1, found 1.5"),
        ({"kind": "simota"}, "iou or atss or task_aligned, found 'simota'"),
        ({"scores": "two"}, "scores to be one or iou"),
    ],
)
def test_mistakes_are_named(mistake: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        AssignerConfig(**mistake)
