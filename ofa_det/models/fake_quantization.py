"""A detector that computes as its int8 file will: the plan's walk with quantized weights and activations.

The rules are TensorFlow Lite's (its 8-bit quantization specification; Jacob et al. 2018, section 3): weights symmetric
per output channel in [-127, 127], behind the fold of the batch norm, whose statistics stand still; activations
asymmetric per tensor, in 256 steps that hit zero, once for each tensor that the file keeps: behind an activation that
is fused into its convolution (ReLU, ReLU6), before and behind one that is an operator (hard swish).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.layers import Layer
from ofa_det.arch.plan import LayerPlan
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.elastic.layers import convolve
from ofa_det.models.network import Detector

RANGES_FILE = "quantization.json"
"""Stands beside the weights of a detector that was trained with quantization."""

BEFORE_ACTIVATION = "-linear"
"""Follows a layer's name in that of its features before an activation that is an operator of its own."""

PARTIAL_SUM = "-sum"
"""Follows the name of a layer that adds more than two inputs, with the number of a sum before the last."""

LEAST_WIDTH = 1e-4
"""Of a range; a tensor that is constantly zero has none."""

Range = tuple[float, float]
Ranges = Mapping[str, Range]
"""Lowest and highest value by tensor name."""

GATE_RANGE: Range = (0.0, 1.0)
"""Of a hard sigmoid, whatever comes in."""

_STEPS = 255
_WEIGHT_STEPS = 127


@dataclass(frozen=True, kw_only=True)
class QuantizationRanges:
    """`quantization.json`: the ranges that a detector was trained with.

    Args:
        weights_sha256: of the model that they belong to.
        ranges: by tensor.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    weights_sha256: str
    ranges: Mapping[str, tuple[float, float]]


def write_ranges(run_folder: str | Path, ranges: Ranges) -> None:
    """Writes `quantization.json` for the model in the run folder."""
    record = QuantizationRanges(weights_sha256=model_sha256(run_folder), ranges=dict(ranges))
    write_record(Path(run_folder) / RANGES_FILE, record)


def read_ranges(run_folder: str | Path) -> Ranges:
    """The ranges that a detector was trained with.

    Raises:
        FileNotFoundError: it was trained without quantization.
        ValueError: a damaged file, or one that belongs to other weights.
    """
    path = Path(run_folder) / RANGES_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"expected {RANGES_FILE} of a quantization-aware training in {run_folder}, found none; train it with "
            "train_det --quantize.detector, or export it with --format tflite-int8"
        )
    record = read_record(path, QuantizationRanges)
    if record.weights_sha256 != model_sha256(run_folder):
        raise ValueError(f"expected {path} to belong to the model beside it, found the hash of another; train it anew")
    return record.ranges


@lru_cache(maxsize=64)
def tensor_roots(plan: LayerPlan) -> Mapping[str, str]:
    """For each activation that a quantized file keeps, the one whose range it has.

    RESIZE_NEAREST_NEIGHBOR and CONCATENATION move bytes: what goes in and what comes out has one scale. Everything else
    has a range of its own, but for the gates of squeeze-excite, whose range is fixed.
    """
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.get(name, name) != name:
            name = parents[name]
        return name

    for layer in plan.layers:
        if layer.kind in ("resize", "concat"):
            for name in layer.inputs:
                parents[root(layer.name)] = root(name)
    found: dict[str, str] = {}
    for layer in plan.layers:
        found |= {name: name for name in partial_sums(layer)}
        if layer.activation == "hswish":
            found[layer.name + BEFORE_ACTIVATION] = layer.name + BEFORE_ACTIVATION
        if layer.activation != "hsigmoid":
            found[layer.name] = root(layer.name)
    return found


def partial_sums(layer: Layer) -> tuple[str, ...]:
    """Names of the sums before the last, of a layer that adds more than two inputs: ADD takes two."""
    if layer.kind != "add":
        return ()
    return tuple(f"{layer.name}{PARTIAL_SUM}{number}" for number in range(1, len(layer.inputs) - 1))


def including_zero(low: float, high: float) -> Range:
    """The least range around both that zero lies in and that has a width."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    return (low, high) if high - low >= LEAST_WIDTH else (low, low + LEAST_WIDTH)


def joined(ranges: Ranges, roots: Mapping[str, str]) -> dict[str, Range]:
    """Ranges of all tensors, those of one scale made equal: they reach as far as any of them does."""
    of_root: dict[str, Range] = {}
    for name, root in roots.items():
        low, high = ranges[name]
        other = of_root.get(root, (low, high))
        of_root[root] = including_zero(min(low, other[0]), max(high, other[1]))
    return {name: of_root[root] for name, root in roots.items()}


class QuantizedDetector(Detector):
    """A detector that computes with quantized weights and activations; rounding passes gradients on.

    Class logits pass them on outside their range too, or an object that scores below it would never be learnt; any
    other value that is clipped has none (Jacob et al. 2018, section 3.1).

    Batch norms are part of their convolutions, with the running statistics they came with, which no training changes;
    scale and shift train. So calibration of batch norm finds none.

    Args:
        config, subnet, resolutions: as of a `Detector`.
    """

    ranges: Tensor
    """(T, 2) lowest and highest value of each tensor of `names`."""
    momentum: float
    """Share of a training batch in the ranges, which move with the batches; 0 leaves them."""

    def __init__(
        self, config: DetectorConfig, subnet: SubnetConfig, resolutions: tuple[int, ...] | None = None
    ) -> None:
        super().__init__(config, subnet, resolutions)
        for module in self._by_layer.values():
            if module.norm is not None:
                module.norm = FoldedBatchNorm(module.norm)  # type: ignore[assignment]
        self.momentum = 0.0
        plan = self.plan(subnet)
        self._roots = tensor_roots(plan)
        self.names = tuple(self._roots)
        self._index = {name: index for index, name in enumerate(self.names)}
        self._logits = frozenset(plan.score_outputs)
        self.register_buffer("ranges", torch.tensor([[0.0, LEAST_WIDTH]]).repeat(len(self.names), 1))

    @classmethod
    def of(cls, detector: Detector, ranges: Ranges, resolutions: tuple[int, ...] | None = None) -> QuantizedDetector:
        """The quantized form of a detector, in eval mode, on its device.

        Raises:
            ValueError: ranges of another architecture.
        """
        quantized = cls(detector.config, detector.subnet, resolutions)
        if unlike := set(quantized.names) ^ set(ranges):
            raise ValueError(
                f"expected ranges of the {len(quantized.names)} tensors of this architecture, found them of "
                f"{len(ranges)}, with a difference in {min(unlike)!r}; calibrate or train them anew"
            )
        fitting = joined(ranges, quantized._roots)
        state = detector.state_dict() | {"ranges": torch.tensor([fitting[name] for name in quantized.names])}
        quantized.load_state_dict(state)
        return quantized.to(next(detector.parameters()).device).eval()

    def tensor_ranges(self) -> Ranges:
        """The ranges by tensor."""
        return {name: (low, high) for name, (low, high) in zip(self.names, self.ranges.tolist(), strict=True)}

    def as_float(self) -> Detector:
        """A float detector with its weights, in eval mode: what `model.safetensors` holds."""
        detector = Detector(self.config, self.subnet).to(self.ranges.device)
        detector.load_state_dict({key: value for key, value in self.state_dict().items() if key != "ranges"})
        return detector.eval()

    def extract(self, subnet: SubnetConfig) -> QuantizedDetector:
        """A copy, at the subnet's resolution, whose ranges stand still."""
        self._check(subnet)
        copy = QuantizedDetector(self.config, subnet).to(self.ranges.device)
        copy.load_state_dict(self.state_dict())
        return copy.train(self.training)

    def _run(self, plan: LayerPlan, layer: Layer, inputs: list[Tensor]) -> Tensor:
        for name in partial_sums(layer):
            inputs = [self._quantize(name, inputs[0] + inputs[1]), *inputs[2:]]
        if not layer.has_weights:
            return super()._run(plan, layer, inputs)
        module = self._by_layer[layer.name]
        weight, bias = self.weights(plan, layer)
        if isinstance(module.norm, FoldedBatchNorm):
            scale, bias = module.norm.scale_and_shift()
            weight = weight * scale[:, None, None, None]
        return convolve(inputs[0], quantized_weight(weight), bias, layer)

    def _activate(self, layer: Layer, features: Tensor) -> Tensor:
        if layer.activation == "hsigmoid":
            return _quantized(super()._activate(layer, features), self.ranges.new_tensor(GATE_RANGE))
        if layer.activation == "hswish":
            features = F.hardswish(self._quantize(layer.name + BEFORE_ACTIVATION, features))
            return self._quantize(layer.name, features)
        return self._quantize(layer.name, super()._activate(layer, features))

    def _quantize(self, name: str, features: Tensor) -> Tensor:
        index = self._index[self._roots[name]]
        if self.training and self.momentum > 0:
            self._follow(index, features)
        quantized = _quantized(features, self.ranges[index])
        if self.training and name in self._logits:
            return features + (quantized - features).detach()
        return quantized

    @torch.no_grad()
    def _follow(self, index: int, features: Tensor) -> None:
        """Moves a range towards that of the batch; logits keep theirs, which is set by what scores may be."""
        if self.names[index] in self._logits:
            return
        found = torch.stack(torch.aminmax(features.detach().float()))
        target = torch.stack([found[0].clamp(max=0.0), found[1].clamp(min=0.0)])
        moved = torch.lerp(self.ranges[index], target, self.momentum)
        moved[1] = torch.maximum(moved[1], moved[0] + LEAST_WIDTH)
        self.ranges[index] = moved


class FoldedBatchNorm(nn.Module):
    """A batch norm as a factor and a shift for each channel; its statistics stand still.

    Args:
        norm: that it replaces, with the same keys in the state dict.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight = nn.Parameter(norm.weight.detach().clone())
        self.bias = nn.Parameter(norm.bias.detach().clone())
        for key, value in norm.named_buffers():
            self.register_buffer(key, value.detach().clone())

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """(C,) each: norm(x) = scale * x + shift."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale


def quantized_weight(weight: Tensor) -> Tensor:
    """(O, C / groups, k, k) rounded to 255 steps around zero for each output channel; gradients pass."""
    steps = weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) / _WEIGHT_STEPS
    return weight + ((weight / steps).round() * steps - weight).detach()


def _quantized(features: Tensor, bounds: Tensor) -> Tensor:
    """Rounded to the steps of a range (2,) and clipped to it; gradients pass inside.

    The zero point is the step nearest to where zero lies, as the converter has it.
    """
    low, high = bounds.unbind()
    scale = (high - low) / _STEPS
    zero_point = (-128 - low / scale).round().clamp(-128, 127).int()
    return torch.fake_quantize_per_tensor_affine(features, scale, zero_point, -128, 127)
