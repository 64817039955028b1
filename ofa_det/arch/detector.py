"""The one walk of the architecture: (detector, subnet) -> layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ofa_det.arch.layers import BATCH_NORM_EPSILON, ElasticLayer, Padding
from ofa_det.arch.levels import AnchorSizes, HeadConfig, LevelSpec
from ofa_det.arch.low_rank import LayerRank, with_ranks
from ofa_det.arch.plan import SQUEEZE_REDUCTION, LayerPlan, PlanBuilder, make_divisible
from ofa_det.arch.space import BackboneConfig, SearchSpace
from ofa_det.arch.stages import StageSpec
from ofa_det.arch.subnet import BlockConfig, SubnetConfig


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """An elastic detector: a search space with classes and anchors.

    Args:
        num_classes: object classes, without background.
        space: what its subnets share and where they differ; every level has anchors.
        ranks: of 1x1 convolutions that are computed as two, in a detector of one subnet.
    """

    num_classes: int
    space: SearchSpace
    ranks: tuple[LayerRank, ...] = ()

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"expected num_classes >= 1, found {self.num_classes}")
        bare = [level.feature for level in self.space.levels if not level.anchors]
        if bare:
            raise ValueError(f"expected anchors on every level, found none on {', '.join(bare)}")
        named = [each.layer for each in self.ranks]
        if twice := {name for name in named if named.count(name) > 1}:
            raise ValueError(f"expected one rank of each layer, found several of {min(twice)!r}")
        counts = [len(level.anchors) for level in self.space.levels]
        if self.space.head.shared and len(set(counts)) > 1:
            raise ValueError(
                f"expected as many anchors on every level of a shared head, found {counts}; state as many on each, fit "
                "them to this search space, or set head.shared to false"
            )

    @property
    def anchor_sizes(self) -> AnchorSizes:
        """Of each level."""
        return tuple(level.anchors for level in self.space.levels)

    @classmethod
    def of(cls, space: SearchSpace, *, num_classes: int, anchor_sizes: AnchorSizes) -> DetectorConfig:
        """The detector of a space whose levels get these anchors; without the levels that get none."""
        return cls(num_classes=num_classes, space=space.with_anchors(anchor_sizes))


@lru_cache(maxsize=256)
def detector_plan(detector: DetectorConfig, subnet: SubnetConfig) -> LayerPlan:
    """The layers of one detector.

    Raises:
        ValueError: a subnet of another number of stages, a space whose parts do not fit together, or ranks that do not
            serve.
    """
    space = detector.space
    builder = PlanBuilder(subnet.resolution)
    features = append_backbone(builder, space.backbone, subnet)
    for node in space.neck:
        if node.name in features:
            raise ValueError(f"expected a name of its own for neck node {node.name!r}, found a feature of the backbone")
        inputs = [_feature(features, name, f"neck node {node.name!r}") for name in node.inputs]
        features[node.name] = builder.append_spec(f"neck.{node.name}", node, inputs=inputs)
    taps = [_level_feature(builder, features, level, subnet.resolution) for level in space.levels]
    boxes, scores = _append_head(builder, space.head, space.levels, taps, detector.num_classes)
    plan = LayerPlan(
        resolution=subnet.resolution,
        layers=builder.layers,
        box_outputs=boxes,
        score_outputs=scores,
        level_features=tuple(taps),
    )
    return with_ranks(plan, detector.ranks)


def shipped_plan(detector: DetectorConfig, columns: int, subnet: SubnetConfig) -> LayerPlan:
    """The layers of the file that a detector becomes: batch norms folded, so many score columns."""
    return detector_plan(replace(detector, num_classes=columns), subnet).folded()


def classifier_plan(
    backbone: BackboneConfig,
    subnet: SubnetConfig,
    *,
    num_classes: int = 1000,
    feature_width: int = 1280,
    padding: Padding = "same",
) -> LayerPlan:
    """The layers of the published OFA classifier on the same backbone: pool, feature mix, linear.

    Latencies are published of its TensorFlow Lite form, taken to need no PAD operators; its weights were trained with
    symmetric padding.
    """
    builder = PlanBuilder(subnet.resolution)
    append_backbone(builder, replace(backbone, padding=padding), subnet)
    builder.append("classifier.pool", "pool")
    builder.append("classifier.mix", "conv", feature_width, activation="hswish")
    builder.append("classifier.linear", "fully_connected", num_classes)
    return LayerPlan(resolution=subnet.resolution, layers=builder.layers)


def append_backbone(builder: PlanBuilder, backbone: BackboneConfig, subnet: SubnetConfig) -> dict[str, str]:
    """Appends a backbone.

    Returns:
        Layer by name of feature, as `NodeSpec.inputs` names them.
    """
    if len(subnet.stages) != len(backbone.stages):
        raise ValueError(f"expected {len(backbone.stages)} stages, found {len(subnet.stages)} in {subnet}")
    builder.padding, builder.batch_norm_epsilon = backbone.padding, backbone.batch_norm_epsilon
    aliases = {"stem": builder.append_spec("backbone.stem", backbone.stem)}
    for index, (stage, blocks) in enumerate(zip(backbone.stages, subnet.stages, strict=True)):
        for position, block in enumerate(blocks):
            stride = stage.stride if position == 0 else 1
            _append_block(builder, f"backbone.stages.{index}.{position}", stage, block, stride)
        aliases[f"stages.{index}"] = builder.last
    if backbone.last is not None:
        aliases["last"] = builder.append_spec("backbone.last", backbone.last)
    builder.padding, builder.batch_norm_epsilon = "same", BATCH_NORM_EPSILON
    return {layer.name.removeprefix("backbone."): layer.name for layer in builder.layers} | aliases


def _append_block(builder: PlanBuilder, name: str, stage: StageSpec, block: BlockConfig, stride: int) -> None:
    expanded = make_divisible(builder.channels(builder.last) * block.expand_ratio)
    squeezed = make_divisible(expanded // SQUEEZE_REDUCTION) if stage.squeeze_excite else 0
    builder.residual_block(
        name,
        stage.width,
        kernel_size=block.kernel_size,
        stride=stride,
        expanded=expanded,
        activation=stage.activation,
        squeezed=squeezed,
        expand=block.expand_ratio > 1,
        kind=block.kind,
    )


def _feature(features: dict[str, str], name: str, reader: str) -> str:
    if name not in features:
        known = ", ".join(other for other in features if not other.startswith("stages.") or other.count(".") == 1)
        raise ValueError(
            f"expected {reader} to read one of {known}, or a layer of a block that every subnet has, found {name!r}"
        )
    return features[name]


def _level_feature(builder: PlanBuilder, features: dict[str, str], level: LevelSpec, resolution: int) -> str:
    layer = _feature(features, level.feature, "a level")
    cells, found = level.cells(resolution), builder.shape(layer).height
    if found != cells:
        raise ValueError(
            f"expected {cells} cells a side of level {level.feature!r}, which has stride {level.stride}, at "
            f"{resolution} px, found {found}; correct the level's stride"
        )
    return layer


def _append_head(
    builder: PlanBuilder, head: HeadConfig, levels: Sequence[LevelSpec], taps: Sequence[str], num_classes: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Appends the predictors; returns the layers of box codes and of logits."""
    outputs: dict[str, list[str]] = {"box": [], "score": []}

    def name(level: int, part: str) -> str:
        return f"head.levels.{level}.{part}"

    def append_tower(level: int, branch: str, feature: str) -> str:
        for position, spec in enumerate(head.tower):
            part = f"{branch}.{position}"
            owner = name(0, part) if head.shared and level > 0 else None
            feature = builder.append_spec(name(level, part), spec, inputs=(feature,), weights_of=owner)
        return feature

    for index, (level, tap) in enumerate(zip(levels, taps, strict=True)):
        common = tap if head.separate_towers else append_tower(index, "tower", tap)
        for branch, values in (("box", 4), ("score", num_classes)):
            feature = append_tower(index, branch, tap) if head.separate_towers else common
            part = f"{branch}.project"
            owner = name(0, part) if head.shared and index > 0 else None
            width = len(level.anchors) * values
            outputs[branch].append(
                builder.append(name(index, part), "conv", width, inputs=(feature,), weights_of=owner)
            )
    return tuple(outputs["box"]), tuple(outputs["score"])


@lru_cache(maxsize=16)
def elastic_layers(detector: DetectorConfig) -> tuple[ElasticLayer, ...]:
    """The layers of the supernet: those of the largest subnet in its order, then what only others have.

    Raises:
        ValueError: a space whose parts do not fit together in each subnet and at each resolution.
    """
    for resolution in detector.space.resolutions:
        detector_plan(detector, detector.space.smallest(resolution))
    plans = [detector_plan(detector, subnet) for subnet in detector.space.covering()]
    _check_joins(plans)
    found: dict[str, ElasticLayer] = {}
    for plan in plans:
        for layer in plan.layers:
            if not layer.has_weights:
                continue
            known = found.get(layer.name)
            sizes = {layer.kernel_size, *(known.kernel_sizes if known else ())}
            found[layer.name] = ElasticLayer(
                name=layer.name,
                kind=layer.kind,
                in_channels=max(layer.in_channels, known.in_channels if known else 0),
                out_channels=max(layer.out_channels, known.out_channels if known else 0),
                kernel_sizes=tuple(sorted(sizes)),
                batch_norm=layer.batch_norm,
                weights_of=layer.weights_of,
                batch_norm_epsilon=layer.batch_norm_epsilon,
            )
    return tuple(found.values())


def _check_joins(plans: Sequence[LayerPlan]) -> None:
    """Refuses to add, join or share weights over features of elastic width: a cut would pair unlike channels."""
    widths: dict[str, set[int]] = {}
    for plan in plans:
        for layer in plan.layers:
            widths.setdefault(layer.name, set()).add(layer.out_channels)
    shared = {layer.weights_of for plan in plans for layer in plan.layers}
    for plan in plans:
        for layer in plan.layers:
            if layer.kind in ("add", "concat") or layer.weights_of is not None or layer.name in shared:
                elastic = [name for name in layer.inputs if len(widths.get(name, {0})) > 1]
                if elastic:
                    raise ValueError(
                        f"expected inputs of one width in {layer.name!r}, found {sorted(widths[elastic[0]])} channels "
                        f"of {elastic[0]!r}; put a 1x1 conv before it"
                    )
