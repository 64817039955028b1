"""Published once-for-all networks: what `net.config` (architecture) and `run.config` (resolution) say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ofa_det.arch.detector import classifier_plan
from ofa_det.arch.layers import Activation, LayerSpec
from ofa_det.arch.plan import LayerPlan, make_divisible
from ofa_det.arch.space import BackboneConfig, SearchSpace
from ofa_det.arch.stages import Blocks, StageSpec
from ofa_det.arch.subnet import BlockConfig, SubnetConfig

_ACT_FUNCS: Final[Mapping[Activation, str]] = {"relu": "relu", "relu6": "relu6", "hswish": "h_swish"}


@dataclass(frozen=True, kw_only=True)
class OfaClassifier:
    """A published once-for-all network as values of this package.

    Args:
        backbone: of the search space that it is from.
        subnet: its blocks and resolution.
        num_classes: outputs of the classifier.
        feature_width: channels before the last layer.
    """

    backbone: BackboneConfig
    subnet: SubnetConfig
    num_classes: int
    feature_width: int

    @property
    def plan(self) -> LayerPlan:
        """The layers of the network as latencies are published of it, classifier included."""
        return classifier_plan(
            self.backbone, self.subnet, num_classes=self.num_classes, feature_width=self.feature_width
        )

    @property
    def trained_plan(self) -> LayerPlan:
        """The same layers with the padding of their training; the last is a 1x1 convolution of a 1x1 map."""
        plan = classifier_plan(
            self.backbone,
            self.subnet,
            num_classes=self.num_classes,
            feature_width=self.feature_width,
            padding=self.backbone.padding,
        )
        return replace(plan, layers=(*plan.layers[:-1], replace(plan.layers[-1], kind="conv")))


def parse_ofa_classifier(
    net: Mapping[str, Any], run: Mapping[str, Any], spaces: Sequence[SearchSpace]
) -> OfaClassifier:
    """Converts the content of a `net.config` and a `run.config`.

    Args:
        net: object in the `net.config`.
        run: object in the `run.config`.
        spaces: that the network may be from; the width of the first convolution tells them apart. Any resolution will
            do.

    Raises:
        ValueError: not of that form, or a network outside the spaces.
    """
    try:
        backbone = _backbone(int(net["first_conv"]["out_channels"]), spaces)
        _check_convolution("first_conv", net["first_conv"], backbone.stem)
        _check_convolution("final_expand_layer", net["final_expand_layer"], backbone.last)
        mix = net["feature_mix_layer"]
        _expect("feature_mix_layer", mix, kernel_size=1, stride=1, act_func=_ACT_FUNCS["hswish"])
        return OfaClassifier(
            backbone=backbone,
            subnet=SubnetConfig(resolution=int(run["image_size"]), stages=_stages(net["blocks"], backbone)),
            num_classes=int(net["classifier"]["out_features"]),
            feature_width=int(mix["out_channels"]),
        )
    except (KeyError, TypeError, IndexError) as error:
        missing = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"expected a once-for-all net.config and run.config, found {missing}") from error


def _backbone(stem_width: int, spaces: Sequence[SearchSpace]) -> BackboneConfig:
    for space in spaces:
        if space.backbone.stem.width == stem_width:
            return space.backbone
    widths = [space.backbone.stem.width for space in spaces]
    raise ValueError(f"expected first_conv with {widths} channels, found {stem_width}; no space has it")


def _check_convolution(where: str, found: Mapping[str, Any], spec: LayerSpec | None) -> None:
    if spec is None:
        raise ValueError(f"expected no {where} in this space, found one")
    _expect(
        where,
        found,
        out_channels=spec.width,
        kernel_size=spec.kernel_size,
        stride=spec.stride,
        act_func=_ACT_FUNCS[spec.activated],
    )


def _stages(blocks: Sequence[Mapping[str, Any]], backbone: BackboneConfig) -> tuple[Blocks, ...]:
    """Groups the blocks into stages by their output width, checking what a stage fixes."""
    specs = backbone.stages
    stages: list[list[BlockConfig]] = []
    in_width = backbone.stem.width
    for index, block in enumerate(blocks):
        width = int(block["mobile_inverted_conv"]["out_channels"])
        starts_stage = not stages or width != specs[len(stages) - 1].width
        if starts_stage:
            stages.append([])
        if len(stages) > len(specs) or width != specs[len(stages) - 1].width:
            widths = [spec.width for spec in specs]
            raise ValueError(f"expected stages of {widths} channels in this order, found {width} in blocks[{index}]")
        spec = specs[len(stages) - 1]
        stages[-1].append(_block(f"blocks[{index}]", block, spec, in_width, spec.stride if starts_stage else 1))
        in_width = width
    if len(stages) != len(specs):
        raise ValueError(f"expected {len(specs)} stages, found {len(stages)}")
    for number, (stage, spec) in enumerate(zip(map(tuple, stages), specs, strict=True)):
        if stage not in spec:
            raise ValueError(
                f"expected {list(spec.depths)} blocks with kernels {list(spec.kernel_sizes)} and ratios "
                f"{list(spec.expand_ratios)} in stage {number}, found {'.'.join(map(str, stage))}"
            )
    return tuple(map(tuple, stages))


def _block(where: str, found: Mapping[str, Any], spec: StageSpec, in_width: int | None, stride: int) -> BlockConfig:
    conv = found["mobile_inverted_conv"]
    block = BlockConfig(kernel_size=int(conv["kernel_size"]), expand_ratio=int(conv["expand_ratio"]))
    # Files that leave mid_channels open round the product.
    expanded = int(conv["in_channels"]) * block.expand_ratio
    _expect(
        where,
        {**conv, "mid_channels": conv.get("mid_channels") or expanded, "shortcut": found["shortcut"] is not None},
        in_channels=in_width,
        mid_channels=make_divisible(expanded),
        stride=stride,
        act_func=_ACT_FUNCS[spec.activation],
        use_se=spec.squeeze_excite,
        shortcut=stride == 1 and in_width == spec.width,
    )
    return block


def _expect(where: str, found: Mapping[str, Any], **expected: Any) -> None:
    for key, value in expected.items():
        if found[key] != value:
            raise ValueError(f"expected {key} {value} in {where}, found {found[key]}; no such layer in this space")
