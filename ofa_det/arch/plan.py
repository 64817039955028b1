"""The layers of one network, in order.

Everything that walks an architecture reads a plan: static model, supernet, MAC and parameter counts, latency, TFLite
graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ofa_det.arch.layers import BATCH_NORM_EPSILON, Activation, Layer, LayerKind, LayerSpec, Padding, Shape
from ofa_det.arch.subnet import BlockKind

IMAGES = "images"
"""Name of the network's input, as it stands in `Layer.inputs`."""

SQUEEZE_REDUCTION = 4
"""Expanded channels over those of the squeezed gate (MobileNetV3, section 5.3)."""


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """The layers of one network, in an order in which every input comes before its use.

    Args:
        resolution: side of the square input, in pixels.
        layers: all layers.
        box_outputs, score_outputs: per level, the layer that gives box codes and class logits; empty in a classifier.
        level_features: per level, the layer that the head reads.
    """

    resolution: int
    layers: tuple[Layer, ...]
    box_outputs: tuple[str, ...] = ()
    score_outputs: tuple[str, ...] = ()
    level_features: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Layer:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def last_reads(self) -> tuple[tuple[str, ...], ...]:
        """For each layer, the features that nothing reads behind it: no later layer, and they are no output."""
        last = {name: index for index, layer in enumerate(self.layers) for name in (*layer.inputs, layer.name)}
        freed: list[list[str]] = [[] for _ in self.layers]
        for name, index in last.items():
            if name not in self.box_outputs + self.score_outputs:
                freed[index].append(name)
        return tuple(map(tuple, freed))

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
        return tuple(self[name].output_shape[1:] for name in self.box_outputs)

    @property
    def anchors_per_cell(self) -> tuple[int, ...]:
        """Number of anchors at each cell, per level."""
        return tuple(self[name].out_channels // 4 for name in self.box_outputs)

    @property
    def num_anchors(self) -> int:
        """Anchors of all levels."""
        cells = (height * width for height, width in self.feature_sizes)
        return sum(count * number for count, number in zip(cells, self.anchors_per_cell, strict=True))

    def folded(self) -> LayerPlan:
        """The network as a file has it: batch norms are part of the convolutions, of which each has its own weights."""
        layers = (
            replace(layer, batch_norm=False, batch_norm_epsilon=BATCH_NORM_EPSILON, weights_of=None)
            for layer in self.layers
        )
        return replace(self, layers=tuple(layers))


def make_divisible(width: float, divisor: int = 8) -> int:
    """Rounds to the nearest multiple of `divisor`, never below 90 % of `width` (MobileNet convention)."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


class PlanBuilder:
    """Appends layers, each reading `inputs` or, by default, the layer before it.

    Args:
        resolution: side of the square input, in pixels.
        in_channels: of the input.
        padding: of every convolution, until it is changed.

    Attributes:
        batch_norm_epsilon: of every batch norm, until it is changed.
    """

    def __init__(self, resolution: int, in_channels: int = 3, padding: Padding = "same") -> None:
        self.padding = padding
        self.batch_norm_epsilon = BATCH_NORM_EPSILON
        self._layers: dict[str, Layer] = {}
        self._images = Shape(in_channels, resolution, resolution)
        self._last = IMAGES

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers so far."""
        return tuple(self._layers.values())

    @property
    def last(self) -> str:
        """Name of the newest layer, or of the network's input."""
        return self._last

    def __contains__(self, name: str) -> bool:
        return name in self._layers

    def shape(self, name: str) -> Shape:
        """Shape of a layer's output."""
        return self._images if name == IMAGES else self._layers[name].output_shape

    def channels(self, name: str) -> int:
        """Output channels of a layer."""
        return self.shape(name).channels

    def append(
        self,
        name: str,
        kind: LayerKind,
        out_channels: int | None = None,
        *,
        inputs: Sequence[str] = (),
        kernel_size: int = 1,
        stride: int = 1,
        activation: Activation = "none",
        batch_norm: bool = False,
        weights_of: str | None = None,
    ) -> str:
        """Appends one layer; `out_channels` defaults to what its inputs give.

        Returns:
            The layer's name.

        Raises:
            ValueError: a name that is taken, inputs or shared weights that do not fit together.
        """
        inputs = tuple(inputs) or (self._last,)
        shapes = tuple(map(self.shape, inputs))
        natural = sum(shape.channels for shape in shapes) if kind == "concat" else shapes[0].channels
        layer = Layer(
            name=name,
            kind=kind,
            inputs=inputs,
            input_shapes=shapes,
            out_channels=out_channels or natural,
            kernel_size=kernel_size,
            stride=stride,
            activation=activation,
            batch_norm=batch_norm,
            padding=self.padding,
            weights_of=weights_of,
            batch_norm_epsilon=self.batch_norm_epsilon if batch_norm else BATCH_NORM_EPSILON,
        )
        self._check(layer)
        self._layers[name] = layer
        self._last = name
        return name

    def append_spec(
        self, name: str, spec: LayerSpec, *, inputs: Sequence[str] = (), weights_of: str | None = None
    ) -> str:
        """Appends the layer that a search space states."""
        return self.append(
            name,
            spec.kind,
            spec.width,
            inputs=inputs,
            kernel_size=spec.kernel_size,
            stride=spec.stride,
            activation=spec.activated,
            batch_norm=spec.has_weights,
            weights_of=weights_of,
        )

    def squeeze_excite(self, name: str, squeezed: int) -> str:
        """Appends the channel gate of MobileNetV3 section 5.3 to the newest layer."""
        features = self._last
        width = self.channels(features)
        self.append(f"{name}.pool", "pool")
        self.append(f"{name}.squeeze", "conv", squeezed, activation="relu")
        self.append(f"{name}.excite", "conv", width, activation="hsigmoid")
        return self.append(f"{name}.gate", "multiply", inputs=(features, f"{name}.excite"))

    def residual_block(
        self,
        name: str,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int,
        expanded: int,
        activation: Activation,
        squeezed: int = 0,
        expand: bool = True,
        kind: BlockKind = "inverted",
    ) -> str:
        """Appends one block of a kind: spatial part, optional squeeze-excite, project, optional add.

        Args:
            name: beginning of its layers' names.
            out_channels: of the projection.
            kernel_size: of the spatial convolution, in pixels.
            stride: of the spatial convolution, in pixels of its input.
            expanded: channels of the spatial convolution's output.
            activation: behind expansion and spatial convolution.
            squeezed: channels of the squeezed gate; 0 for none.
            expand: whether an inverted block has an expansion layer.
            kind: of the block.
        """
        start = self._last
        if kind == "inverted" and expand:
            self.append(f"{name}.expand", "conv", expanded, activation=activation, batch_norm=True)
        self.append(
            f"{name}.depthwise" if kind == "inverted" else f"{name}.fused",
            "depthwise" if kind == "inverted" else "conv",
            None if kind == "inverted" else expanded,
            kernel_size=kernel_size,
            stride=stride,
            activation=activation,
            batch_norm=True,
        )
        if squeezed:
            self.squeeze_excite(name, squeezed)
        self.append(f"{name}.project", "conv", out_channels, batch_norm=True)
        if stride == 1 and self.channels(start) == out_channels:
            self.append(f"{name}.add", "add", inputs=(f"{name}.project", start))
        return self._last

    def _check(self, layer: Layer) -> None:
        if layer.name in self._layers:
            raise ValueError(f"expected one layer of each name, found {layer.name!r} twice")
        sizes = layer.input_shapes if layer.kind == "add" else [shape[1:] for shape in layer.input_shapes]
        if layer.kind in ("add", "concat") and len(set(sizes)) > 1:
            named = zip(layer.inputs, layer.input_shapes, strict=True)
            shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in named)
            raise ValueError(
                f"expected inputs of one size in {layer.name!r}, found {shapes} (channels x height x width) at "
                f"{self._images.width} px; a neck that resizes needs resolutions that its largest stride divides"
            )
        if layer.weights_of is not None:
            owner = self._layers[layer.weights_of]
            wanted, found = ((each.kind, each.weight_count, each.in_channels) for each in (owner, layer))
            if wanted != found:
                raise ValueError(
                    f"expected {layer.name!r} to be of the shape of {owner.name!r}, whose weights it uses, found "
                    f"{layer.in_channels} -> {layer.out_channels} channels for {owner.in_channels} -> "
                    f"{owner.out_channels}"
                )
