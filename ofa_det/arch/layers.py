"""Layers: as a search space states them, and as a plan has them, with every size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

LayerKind = Literal["conv", "depthwise", "fully_connected", "pool", "multiply", "add", "resize", "concat"]
Activation = Literal["none", "relu", "relu6", "hswish", "hsigmoid"]
Padding = Literal["same", "symmetric"]
"""`same`: TensorFlow's, an odd zero goes behind. `symmetric`: PyTorch's, k // 2 zeros on every side. They differ in a
layer with a stride on an even input; there the exported graph needs a PAD operator for `symmetric`."""

RESIZE_FACTOR = 2
BATCH_NORM_EPSILON = 1e-5
"""What is added to the variance, unless a backbone says otherwise."""


class Shape(NamedTuple):
    """Of one image's features."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A layer less its sizes.

    Args:
        kind: `conv` and `depthwise` are followed by a batch norm; `resize` doubles height and width (nearest
            neighbour), `add` sums its inputs, `concat` joins their channels.
        width: output channels of a conv; of no other.
        kernel_size, stride: of a conv or depthwise, in pixels of the input.
        activation: applied to the output; by default relu6 behind a conv or depthwise, else none.
    """

    kind: Literal["conv", "depthwise", "resize", "add", "concat"] = "conv"
    width: int | None = None
    kernel_size: int = 1
    stride: int = 1
    activation: Activation | None = None

    def __post_init__(self) -> None:
        if (self.kind == "conv") != (self.width is not None):
            raise ValueError(f"expected a width of a conv and of nothing else, found {self.width} of a {self.kind}")
        if min(self.kernel_size, self.stride, 1 if self.width is None else self.width) < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"expected an odd kernel_size and width and stride >= 1, found {self}")
        if not self.has_weights and (self.kernel_size, self.stride) != (1, 1):
            raise ValueError(f"expected kernel_size and stride of a conv or depthwise, found them of a {self.kind}")

    @property
    def has_weights(self) -> bool:
        """Whether the layer is a convolution."""
        return self.kind in ("conv", "depthwise")

    @property
    def activated(self) -> Activation:
        """The activation, the default resolved."""
        return self.activation or ("relu6" if self.has_weights else "none")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of a plan; a convolution's output has ceil(in / stride) rows and columns.

    Args:
        name: unique in its plan; prefix of the layer's weight keys.
        kind: `pool` is the mean over height and width; `multiply` broadcasts its second input.
        inputs: names of the layers whose outputs it reads.
        input_shapes: of each of them.
        out_channels: channels of the output.
        kernel_size, stride: in pixels of the input.
        activation: applied to the output, after batch norm.
        batch_norm: whether a batch norm follows; a convolution without one has a bias.
        padding: where the zeros go.
        weights_of: the layer whose convolution weights (and bias) this one uses; a batch norm is always its own.
        batch_norm_epsilon: added to the variance in the batch norm; the default where there is none.
    """

    name: str
    kind: LayerKind
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    out_channels: int
    kernel_size: int = 1
    stride: int = 1
    activation: Activation = "none"
    batch_norm: bool = False
    padding: Padding = "same"
    weights_of: str | None = None
    batch_norm_epsilon: float = BATCH_NORM_EPSILON

    @property
    def in_channels(self) -> int:
        """Channels of the first input."""
        return self.input_shapes[0].channels

    @cached_property
    def output_shape(self) -> Shape:
        """Of the output."""
        _, height, width = self.input_shapes[0]
        if self.kind == "pool":
            return Shape(self.out_channels, 1, 1)
        if self.kind == "resize":
            return Shape(self.out_channels, RESIZE_FACTOR * height, RESIZE_FACTOR * width)
        return Shape(self.out_channels, -(-height // self.stride), -(-width // self.stride))

    @property
    def margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Zeros (above, below) and (left, right) of the input that the kernel needs."""
        _, height, width = self.input_shapes[0]
        return self._margin(height), self._margin(width)

    @property
    def pads_unlike_same(self) -> bool:
        """Whether the zeros lie elsewhere than TensorFlow's SAME puts them, so that a file needs a PAD operator."""
        return self.has_weights and self.margins != replace(self, padding="same").margins

    @property
    def has_weights(self) -> bool:
        """Whether the layer is a convolution or fully connected."""
        return self.kind in ("conv", "depthwise", "fully_connected")

    @property
    def groups(self) -> int:
        """Of the convolution."""
        return self.in_channels if self.kind == "depthwise" else 1

    @property
    def weight_count(self) -> int:
        """Elements of the weight tensor that is applied, without bias and batch norm."""
        return self.out_channels * self.in_channels // self.groups * self.kernel_size**2 if self.has_weights else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolution for one image."""
        return self.weight_count * self.output_shape.height * self.output_shape.width

    @property
    def parameters(self) -> int:
        """Trainable parameters of its own: weights and bias unless they are another's, scale and shift of the norm."""
        norm = 2 * self.out_channels if self.batch_norm else 0
        if self.weights_of or not self.has_weights:
            return norm
        return self.weight_count + (norm or self.out_channels)

    def _margin(self, size: int) -> tuple[int, int]:
        if self.padding == "symmetric":
            return self.kernel_size // 2, self.kernel_size // 2
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel_size - size, 0)
        return total // 2, total - total // 2


@dataclass(frozen=True, kw_only=True)
class ElasticLayer:
    """A weighted layer as the supernet has it: the union of what it is in the subnets.

    Args:
        name, kind, batch_norm, weights_of, batch_norm_epsilon: as in `Layer`.
        in_channels, out_channels: the greatest.
        kernel_sizes: that occur, ascending.
    """

    name: str
    kind: LayerKind
    in_channels: int
    out_channels: int
    kernel_sizes: tuple[int, ...]
    batch_norm: bool
    weights_of: str | None
    batch_norm_epsilon: float = BATCH_NORM_EPSILON
