"""The one walk of the architecture: (detector, subnet) -> layers.

The static model, the supernet's forward pass, MAC and parameter counts, the latency model and the TFLite graph are all
read from the plan. A layer's name is the prefix of its weights' keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from ofa_det.arch.detector import BackboneConfig, DetectorConfig
from ofa_det.arch.subnet import SubnetConfig

LayerKind = Literal["conv", "depthwise", "fully_connected", "pool", "multiply", "add"]
Activation = Literal["none", "relu", "relu6", "hswish", "hsigmoid"]

IMAGES = "images"
"""Name of the network's input, as it stands in `Layer.inputs`."""

# Once-for-All, MobileNetV3 space: widths and strides of the five stages, before the width multiplier.
STEM_WIDTH = 16
STAGE_WIDTHS = (24, 40, 80, 112, 160)
STAGE_STRIDES = (2, 2, 2, 1, 2)
STAGE_SQUEEZE_EXCITE = (False, True, False, True, True)
STAGE_HSWISH = (False, False, True, True, True)
SQUEEZE_REDUCTION = 4


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer with SAME padding: out = ceil(in / stride).

    Args:
        name: unique in its plan; prefix of the layer's weight keys.
        kind: `pool` is the mean over height and width; `multiply` broadcasts its second input.
        inputs: names of the layers whose outputs it reads.
        in_channels, out_channels: channels of the (first) input and of the output.
        in_height, in_width: size of the (first) input, in pixels.
        kernel_size, stride: in pixels of the input.
        activation: applied to the output, after batch norm.
        batch_norm: whether a batch norm follows; a convolution without one has a bias.
    """

    name: str
    kind: LayerKind
    inputs: tuple[str, ...]
    in_channels: int
    out_channels: int
    in_height: int
    in_width: int
    kernel_size: int = 1
    stride: int = 1
    activation: Activation = "none"
    batch_norm: bool = False

    @property
    def out_height(self) -> int:
        """Height of the output, in pixels."""
        return 1 if self.kind == "pool" else -(-self.in_height // self.stride)

    @property
    def out_width(self) -> int:
        """Width of the output, in pixels."""
        return 1 if self.kind == "pool" else -(-self.in_width // self.stride)

    @property
    def has_weights(self) -> bool:
        """Whether the layer is a convolution or fully connected."""
        return self.kind in ("conv", "depthwise", "fully_connected")

    @property
    def weight_count(self) -> int:
        """Elements of the weight tensor, without bias and batch norm."""
        if not self.has_weights:
            return 0
        group_channels = 1 if self.kind == "depthwise" else self.in_channels
        return self.out_channels * group_channels * self.kernel_size**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolution for one image."""
        return self.weight_count * self.out_height * self.out_width

    @property
    def parameters(self) -> int:
        """Trainable parameters: weights, and a bias or the scale and shift of the batch norm."""
        return self.weight_count + (2 if self.batch_norm else 1) * self.out_channels if self.has_weights else 0


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """The layers of one network, in an order in which every input comes before its use.

    Args:
        resolution: side of the square input, in pixels.
        layers: all layers.
        box_outputs, score_outputs: per level, the layer that gives box codes and class logits; empty in a classifier.
    """

    resolution: int
    layers: tuple[Layer, ...]
    box_outputs: tuple[str, ...] = ()
    score_outputs: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Layer:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def feature_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the feature map of each level."""
        return tuple((self[name].out_height, self[name].out_width) for name in self.box_outputs)


def make_divisible(width: float, divisor: int = 8) -> int:
    """Rounds to the nearest multiple of `divisor`, never below 90 % of `width` (MobileNet convention)."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


class PlanBuilder:
    """Appends layers, each reading `inputs` or, by default, the layer before it."""

    def __init__(self, resolution: int, in_channels: int = 3) -> None:
        self.layers: list[Layer] = []
        self._shapes: dict[str, tuple[int, int, int]] = {IMAGES: (in_channels, resolution, resolution)}
        self._last = IMAGES

    @property
    def last(self) -> str:
        """Name of the newest layer, or of the network's input."""
        return self._last

    def channels(self, name: str) -> int:
        """Output channels of a layer."""
        return self._shapes[name][0]

    def append(
        self,
        name: str,
        kind: LayerKind,
        out_channels: int | None = None,
        *,
        inputs: tuple[str, ...] | None = None,
        kernel_size: int = 1,
        stride: int = 1,
        activation: Activation = "none",
        batch_norm: bool = False,
    ) -> str:
        """Appends one layer; `out_channels` defaults to its input's.

        Returns:
            The layer's name.
        """
        inputs = inputs or (self._last,)
        in_channels, height, width = self._shapes[inputs[0]]
        layer = Layer(
            name=name,
            kind=kind,
            inputs=inputs,
            in_channels=in_channels,
            out_channels=out_channels or in_channels,
            in_height=height,
            in_width=width,
            kernel_size=kernel_size,
            stride=stride,
            activation=activation,
            batch_norm=batch_norm,
        )
        self.layers.append(layer)
        self._shapes[name] = (layer.out_channels, layer.out_height, layer.out_width)
        self._last = name
        return name

    def squeeze_excite(self, name: str, squeezed: int) -> str:
        """Appends the channel gate of MobileNetV3 section 5.3 to the newest layer."""
        features = self._last
        width = self.channels(features)
        self.append(f"{name}.pool", "pool")
        self.append(f"{name}.squeeze", "conv", squeezed, activation="relu")
        self.append(f"{name}.excite", "conv", width, activation="hsigmoid")
        return self.append(f"{name}.gate", "multiply", inputs=(features, f"{name}.excite"))

    def inverted_residual(
        self,
        name: str,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int,
        expanded: int,
        activation: Activation,
        squeezed: int = 0,
        always_expand: bool = True,
    ) -> str:
        """Appends one inverted-residual block: expand, depthwise, optional squeeze-excite, project, optional add."""
        start = self._last
        in_channels = self.channels(start)
        if always_expand or expanded != in_channels:
            self.append(f"{name}.expand", "conv", expanded, activation=activation, batch_norm=True)
        self.append(
            f"{name}.depthwise",
            "depthwise",
            kernel_size=kernel_size,
            stride=stride,
            activation=activation,
            batch_norm=True,
        )
        if squeezed:
            self.squeeze_excite(name, squeezed)
        self.append(f"{name}.project", "conv", out_channels, batch_norm=True)
        if stride == 1 and in_channels == out_channels:
            self.append(f"{name}.add", "add", inputs=(f"{name}.project", start))
        return self._last


@lru_cache(maxsize=4096)
def detector_plan(detector: DetectorConfig, subnet: SubnetConfig) -> LayerPlan:
    """The layers of one detector: backbone, four extra levels, six pairs of SSDLite predictors.

    The lowest level reads the expanded features of the first stride-32 block (stride 16), the next one the last
    backbone layer (stride 32), as MobileNetV3 section 6.3 places them.
    """
    builder = PlanBuilder(subnet.resolution)
    taps = [*_backbone(builder, detector.backbone, subnet)]
    for i, width in enumerate(detector.extra_widths):
        builder.append(f"head.extras.{i}.reduce", "conv", width // 2, activation="relu6", batch_norm=True)
        builder.append(
            f"head.extras.{i}.depthwise", "depthwise", kernel_size=3, stride=2, activation="relu6", batch_norm=True
        )
        taps.append(builder.append(f"head.extras.{i}.expand", "conv", width, activation="relu6", batch_norm=True))

    outputs: dict[str, list[str]] = {"box": [], "score": []}
    for level, (tap, sizes) in enumerate(zip(taps, detector.anchor_sizes, strict=True)):
        for branch, values in (("box", 4), ("score", detector.num_classes)):
            name = f"head.levels.{level}.{branch}"
            builder.append(
                f"{name}.depthwise", "depthwise", inputs=(tap,), kernel_size=3, activation="relu6", batch_norm=True
            )
            outputs[branch].append(builder.append(f"{name}.project", "conv", len(sizes) * values))
    return LayerPlan(
        resolution=subnet.resolution,
        layers=tuple(builder.layers),
        box_outputs=tuple(outputs["box"]),
        score_outputs=tuple(outputs["score"]),
    )


def classifier_plan(
    backbone: BackboneConfig, subnet: SubnetConfig, num_classes: int = 1000, feature_width: int = 1280
) -> LayerPlan:
    """The layers of the published OFA classifier on the same backbone: pool, feature mix, linear."""
    builder = PlanBuilder(subnet.resolution)
    _backbone(builder, backbone, subnet)
    builder.append("classifier.pool", "pool")
    width = make_divisible(feature_width * backbone.width_mult)
    builder.append("classifier.mix", "conv", width, activation="hswish")
    builder.append("classifier.linear", "fully_connected", num_classes)
    return LayerPlan(resolution=subnet.resolution, layers=tuple(builder.layers))


def _backbone(builder: PlanBuilder, config: BackboneConfig, subnet: SubnetConfig) -> tuple[str, str]:
    """Appends the backbone; returns the names of its stride-16 and stride-32 taps."""
    if len(subnet.stages) != len(STAGE_WIDTHS):
        raise ValueError(f"expected {len(STAGE_WIDTHS)} stages, found {len(subnet.stages)}")
    smooth: Activation = "hswish" if config.hswish else "relu6"
    stem_width = make_divisible(STEM_WIDTH * config.width_mult)
    builder.append("backbone.stem", "conv", stem_width, kernel_size=3, stride=2, activation=smooth, batch_norm=True)
    builder.inverted_residual(
        "backbone.first",
        stem_width,
        kernel_size=3,
        stride=1,
        expanded=stem_width,
        activation="relu",
        always_expand=False,
    )
    for stage, blocks in enumerate(subnet.stages):
        width = make_divisible(STAGE_WIDTHS[stage] * config.width_mult)
        for index, block in enumerate(blocks):
            expanded = make_divisible(builder.channels(builder.last) * block.expand_ratio)
            has_gate = config.squeeze_excite and STAGE_SQUEEZE_EXCITE[stage]
            builder.inverted_residual(
                f"backbone.stages.{stage}.{index}",
                width,
                kernel_size=block.kernel_size,
                stride=STAGE_STRIDES[stage] if index == 0 else 1,
                expanded=expanded,
                activation=smooth if STAGE_HSWISH[stage] else "relu",
                squeezed=make_divisible(expanded // SQUEEZE_REDUCTION) if has_gate else 0,
            )
    last = builder.append(
        "backbone.last",
        "conv",
        make_divisible(config.last_width * config.width_mult),
        activation=smooth,
        batch_norm=True,
    )
    return f"backbone.stages.{len(STAGE_WIDTHS) - 1}.0.expand", last
