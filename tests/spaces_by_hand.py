"""Search spaces and parts of them, made by hand for tests of several rooms."""

from dataclasses import replace

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.layers import LayerSpec
from ofa_det.arch.levels import HeadConfig, LevelSpec, NodeSpec
from ofa_det.arch.space import BackboneConfig, SearchSpace
from ofa_det.arch.stages import StageSpec

# Strides 4 and 8, a neck that goes from the coarse level up to the fine one, fused blocks.
ANCHORS = ((0.1, 0.1), (0.3, 0.2))
PYRAMID = SearchSpace(
    resolutions=(64, 96),
    backbone=BackboneConfig(
        stem=LayerSpec(width=8, kernel_size=3, stride=2),
        stages=(
            StageSpec(
                width=16,
                stride=2,
                activation="relu",
                depths=(1, 2),
                kernel_sizes=(3, 5),
                expand_ratios=(1, 2, 4),
                kinds=("inverted", "fused"),
            ),
            StageSpec(
                width=24,
                stride=2,
                activation="hswish",
                squeeze_excite=True,
                depths=(1, 3),
                kernel_sizes=(3,),
                expand_ratios=(2, 4),
            ),
        ),
    ),
    neck=(
        NodeSpec(name="top", width=16),
        NodeSpec(name="up", kind="resize"),
        NodeSpec(name="sum", kind="add", inputs=("up", "stages.0")),
        NodeSpec(name="both", kind="concat", inputs=("sum", "stages.0")),
        NodeSpec(name="fine", width=16),
    ),
    head=HeadConfig(tower=(LayerSpec(width=32, kernel_size=3),), separate_towers=False, shared=True),
    levels=(
        LevelSpec(feature="fine", stride=4, anchors=ANCHORS),
        LevelSpec(feature="top", stride=8, anchors=ANCHORS),
    ),
)


def pyramid(**changes: object) -> DetectorConfig:
    return DetectorConfig(num_classes=3, space=replace(PYRAMID, **changes))


def stage(**choices: object) -> StageSpec:
    fixed = {"width": 16, "activation": "relu", "depths": (1,), "kernel_sizes": (3,), "expand_ratios": (1,)}
    return StageSpec(**(fixed | choices))


def space(*stages: StageSpec, resolutions: tuple[int, ...] = (64, 96), **changes: object) -> SearchSpace:
    stem = LayerSpec(width=8, kernel_size=3, stride=2)
    values = {
        "backbone": BackboneConfig(stem=stem, stages=stages),
        "levels": (LevelSpec(feature="stages.0", stride=2),),
    }
    return SearchSpace(resolutions=resolutions, **(values | changes))
