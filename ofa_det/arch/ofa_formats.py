"""Once-for-all files: `net.config` (architecture) and `run.config` (resolution) of a published network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa_det.arch.detector import BackboneConfig
from ofa_det.arch.files import read_json
from ofa_det.arch.layer_plan import (
    STAGE_HSWISH,
    STAGE_SQUEEZE_EXCITE,
    STAGE_STRIDES,
    STAGE_WIDTHS,
    STEM_WIDTH,
    LayerPlan,
    classifier_plan,
    make_divisible,
)
from ofa_det.arch.subnet import BlockConfig, SubnetConfig

RUN_CONFIG = "run.config"
PUBLISHED_WIDTH_MULTS = (1.0, 1.2)
LAST_WIDTH = 960
FEATURE_WIDTH = 1280


@dataclass(frozen=True, kw_only=True)
class OfaClassifier:
    """A published once-for-all network as values of this package.

    Args:
        backbone: its fixed part.
        subnet: its blocks and resolution.
        num_classes: outputs of the classifier.
    """

    backbone: BackboneConfig
    subnet: SubnetConfig
    num_classes: int

    @property
    def plan(self) -> LayerPlan:
        """The layers of the network as published, classifier included."""
        return classifier_plan(self.backbone, self.subnet, num_classes=self.num_classes, feature_width=FEATURE_WIDTH)


def read_ofa_classifier(net_config: str | Path) -> OfaClassifier:
    """Reads a `net.config` and the `run.config` beside it.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: not of that form, or a network outside the once-for-all MobileNetV3 space.
    """
    net_config = Path(net_config)
    run_config = net_config.with_name(RUN_CONFIG)
    if not run_config.is_file():
        raise FileNotFoundError(f"expected {RUN_CONFIG} beside {net_config} for the resolution, found none")
    try:
        return parse_ofa_classifier(read_json(net_config), read_json(run_config))
    except ValueError as error:
        raise ValueError(f"{net_config}: {error}") from error


def parse_ofa_classifier(net: Mapping[str, Any], run: Mapping[str, Any]) -> OfaClassifier:
    """Converts the content of a `net.config` and a `run.config`.

    Raises:
        ValueError: not of that form, or a network outside the once-for-all MobileNetV3 space.
    """
    try:
        blocks = [block["mobile_inverted_conv"] for block in net["blocks"]]
        shortcuts = [block["shortcut"] is not None for block in net["blocks"]]
        stem, num_classes = net["first_conv"], int(net["classifier"]["out_features"])
        resolution = int(run["image_size"])
        width_mult = _width_mult(int(stem["out_channels"]))
        _check_fixed_part(net, blocks[0], width_mult)
        stages = _stages(blocks[1:], shortcuts[1:], width_mult)
    except (KeyError, TypeError, IndexError) as error:
        missing = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"expected a once-for-all net.config and run.config, found {missing}") from error
    return OfaClassifier(
        backbone=BackboneConfig(width_mult=width_mult, last_width=LAST_WIDTH),
        subnet=SubnetConfig(resolution=resolution, stages=stages),
        num_classes=num_classes,
    )


def _width_mult(stem_width: int) -> float:
    for width_mult in PUBLISHED_WIDTH_MULTS:
        if make_divisible(STEM_WIDTH * width_mult) == stem_width:
            return width_mult
    widths = [make_divisible(STEM_WIDTH * width_mult) for width_mult in PUBLISHED_WIDTH_MULTS]
    raise ValueError(f"expected first_conv with {widths} channels, found {stem_width}")


def _check_fixed_part(net: Mapping[str, Any], first_block: Mapping[str, Any], width_mult: float) -> None:
    """Refuses a network whose fixed layers are not those of the layer plan."""
    stem_width = make_divisible(STEM_WIDTH * width_mult)
    last, mix = net["final_expand_layer"], net["feature_mix_layer"]
    _expect("first_conv", net["first_conv"], kernel_size=3, stride=2, act_func="h_swish")
    _expect("blocks[0]", first_block, out_channels=stem_width, kernel_size=3, stride=1, expand_ratio=1, act_func="relu")
    _expect("blocks[0]", first_block, use_se=False)
    _expect("final_expand_layer", last, out_channels=make_divisible(LAST_WIDTH * width_mult), act_func="h_swish")
    _expect("feature_mix_layer", mix, out_channels=make_divisible(FEATURE_WIDTH * width_mult), act_func="h_swish")


def _stages(
    blocks: Sequence[Mapping[str, Any]], shortcuts: Sequence[bool], width_mult: float
) -> tuple[tuple[BlockConfig, ...], ...]:
    """Groups the blocks after the first into stages by their output width, checking what a stage fixes."""
    widths = [make_divisible(width * width_mult) for width in STAGE_WIDTHS]
    stages: list[list[BlockConfig]] = []
    for index, (block, has_shortcut) in enumerate(zip(blocks, shortcuts, strict=True), start=1):
        width = int(block["out_channels"])
        if width not in widths:
            raise ValueError(f"expected stage widths {widths}, found {width} in blocks[{index}]")
        starts_stage = len(stages) < widths.index(width) + 1
        if starts_stage:
            stages.append([])
        stage = len(stages) - 1
        if width != widths[stage]:
            raise ValueError(f"expected {widths[stage]} channels, found {width} in blocks[{index}]")
        in_width = int(block["in_channels"])
        ratio = int(block["expand_ratio"])
        expanded = make_divisible(in_width * ratio)
        _expect(
            f"blocks[{index}]",
            {**block, "shortcut": has_shortcut, "mid_channels": block.get("mid_channels") or round(in_width * ratio)},
            stride=STAGE_STRIDES[stage] if starts_stage else 1,
            act_func="h_swish" if STAGE_HSWISH[stage] else "relu",
            use_se=STAGE_SQUEEZE_EXCITE[stage],
            mid_channels=expanded,
            shortcut=not starts_stage,
        )
        stages[stage].append(BlockConfig(kernel_size=int(block["kernel_size"]), expand_ratio=ratio))
    if len(stages) != len(widths):
        raise ValueError(f"expected {len(widths)} stages of {widths} channels, found {len(stages)}")
    return tuple(tuple(stage) for stage in stages)


def _expect(where: str, found: Mapping[str, Any], **expected: Any) -> None:
    for key, value in expected.items():
        if found[key] != value:
            raise ValueError(f"expected {key} {value} in {where}, found {found[key]}; no such layer in this space")
