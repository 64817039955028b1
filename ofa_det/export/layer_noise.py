"""Which layers of an int8 file are to blame: the noise that each adds by itself.

Noise that has gone through the network says little of where it came from. So each layer is computed in float from what
the file gives it, and compared with what the file makes of that: what differs is its own rounding and clipping, of
weights and of its output.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofa_det.arch.layers import Layer
from ofa_det.arch.plan import IMAGES, LayerPlan
from ofa_det.artefacts.tflite_content import open_interpreter
from ofa_det.elastic.layers import convolve
from ofa_det.evaluation.tflite import input_values
from ofa_det.export.keras_mirror import activation_of
from ofa_det.export.mirror_weights import MirrorWeights
from ofa_det.models.activation_ranges import silent_logit
from ofa_det.models.fake_quantization import BEFORE_ACTIVATION
from ofa_det.models.network import activate, combine

CLIPPED_DB = 10.0
"""Clipping over rounding from which a range is taken to be too narrow.

Of two trained detectors (ReLU6 and hard swish) and ranges by each rule, one layer had more, with a noise of 21 dB at
worst. Half of a range gave 12 to 51 dB, but where a layer hardly ever comes near its ends.
"""
HARMFUL_DB = 20.0
"""Noise of a layer, a hundredth of its power, from which clipping is refused whatever AP says; 21 dB cost no AP."""
_TELLING_VALUES = 4096

_NO_LAYER = ("RESHAPE", "DEQUANTIZE", "QUANTIZE", "DELEGATE")
"""Ops whose outputs are named after the layer before them."""


@dataclass(frozen=True, kw_only=True)
class LayerNoise:
    """The noise that a layer adds.

    Args:
        name: of the layer.
        sqnr_db: power of its output in float over that of the difference.
        clipping_db: power of what its range cuts off over that of rounding to the range's steps; negative in a range
            that suits the images.
        values: that were compared.
    """

    name: str
    sqnr_db: float
    clipping_db: float = -200.0
    values: int = 0

    @property
    def is_clipped(self) -> bool:
        """Whether its range is too narrow for what comes, by far; of few values one outlier would say so."""
        return self.values >= _TELLING_VALUES and self.clipping_db > CLIPPED_DB and self.sqnr_db < HARMFUL_DB


@torch.no_grad()
def layer_noises(
    content: bytes,
    plan: LayerPlan,
    weights: MirrorWeights,
    images: Sequence[NDArray[np.uint8]],
    *,
    score_threshold: float,
) -> list[LayerNoise]:
    """The noise of every layer, the worst first; layers that give nothing but zeros are left out.

    Of box codes those of detections count, and logits below the threshold are all alike.

    Args:
        content: flatbuffer of an int8 network before post-processing was appended.
        plan: its layers.
        weights: in float, by layer name.
        images: (H, W, 3) uint8 of the input's size.
        score_threshold: of the file.
    """
    network = _QuantizedFile(content, plan)
    powers = {layer.name: _Powers() for layer in plan.layers if layer.name in network.tensors}
    for image in images:
        values = network.run(image)
        for layer in plan.layers:
            if layer.name not in powers or any(name not in values for name in layer.inputs):
                continue
            before = _before_activation(layer, [values[name] for name in layer.inputs], weights)
            if layer.name + BEFORE_ACTIVATION in network.tensors:
                powers[layer.name].clip(before, network.range(layer.name + BEFORE_ACTIVATION))
            wanted = activate(layer, before.clone())
            wanted, found = _read_of(plan, layer, wanted, values, score_threshold)
            powers[layer.name].clip(wanted, network.range(layer.name))
            powers[layer.name].values += wanted.numel()
            powers[layer.name].signal += float(wanted.square().sum())
            powers[layer.name].noise += float((found - wanted).square().sum())
    noises = [
        LayerNoise(name=name, sqnr_db=_db(of.signal, of.noise), clipping_db=of.clipping_db, values=of.values)
        for name, of in powers.items()
        if of.signal > 0
    ]
    return sorted(noises, key=lambda noise: (not noise.is_clipped, noise.sqnr_db))


@dataclass
class _Powers:
    """Sums over the images, of one layer."""

    signal: float = 0.0
    noise: float = 0.0
    values: int = 0
    clipped: dict[tuple[float, float], float] = field(default_factory=lambda: defaultdict(float))
    rounded: dict[tuple[float, float], float] = field(default_factory=lambda: defaultdict(float))

    def clip(self, values: Tensor, bounds: tuple[float, float]) -> None:
        """Counts what a range cuts off, and the rounding that is to be expected: a twelfth of a step squared."""
        low, high = bounds
        self.clipped[bounds] += float((values - values.clamp(low, high)).square().sum())
        self.rounded[bounds] += values.numel() * ((high - low) / 255) ** 2 / 12

    @property
    def clipping_db(self) -> float:
        """Of the worst of its ranges."""
        return max(_db(self.clipped[bounds], power) for bounds, power in self.rounded.items())


def _db(power: float, of: float) -> float:
    if power <= 0:
        return -200.0
    return max(-200.0, min(200.0, 10 * math.log10(power / of))) if of > 0 else 200.0


class _QuantizedFile:
    """Runs a file and gives the output of each layer."""

    def __init__(self, content: bytes, plan: LayerPlan) -> None:
        self._interpreter = open_interpreter(content, keep_all=True)
        (self._input,) = self._interpreter.get_input_details()
        self.tensors: dict[str, int] = {}
        for op in self._interpreter._get_ops_details():
            tensor = int(op["outputs"][0])
            name = activation_of(self._details(tensor)["name"], plan)
            if op["op_name"] not in _NO_LAYER and name is not None:
                self.tensors[name] = tensor

    def run(self, image: NDArray[np.uint8]) -> dict[str, Tensor]:
        """(1, C, H, W) values by activation, the images among them."""
        self._interpreter.set_tensor(self._input["index"], input_values(image, self._input["dtype"]))
        self._interpreter.invoke()
        tensors = {IMAGES: int(self._input["index"]), **self.tensors}
        return {name: self._dequantized(tensor) for name, tensor in tensors.items()}

    def range(self, name: str) -> tuple[float, float]:
        """Lowest and highest value that an activation can have."""
        scale, zero_point = self._details(self.tensors[name])["quantization"]
        return (-128 - zero_point) * scale, (127 - zero_point) * scale

    def _dequantized(self, tensor: int) -> Tensor:
        scale, zero_point = self._details(tensor)["quantization"]
        values = self._interpreter.get_tensor(tensor).astype(np.float32)
        return torch.from_numpy((values - zero_point) * np.float32(scale)).permute(0, 3, 1, 2)

    def _details(self, tensor: int) -> dict[str, Any]:
        details: dict[str, Any] = self._interpreter._get_tensor_details(tensor, 0)
        return details


def _before_activation(layer: Layer, inputs: list[Tensor], weights: MirrorWeights) -> Tensor:
    """In float."""
    if not layer.has_weights:
        return combine(layer, inputs)
    kernel, bias = weights[layer.name].kernel, weights[layer.name].bias
    # Back from (k, k, in, out), or (k, k, channels, 1), to torch's layout.
    order = (2, 3, 0, 1) if layer.kind == "depthwise" else (3, 2, 0, 1)
    weight = torch.from_numpy(np.ascontiguousarray(kernel.transpose(order)))
    return convolve(inputs[0], weight, torch.from_numpy(bias), layer)


def _read_of(
    plan: LayerPlan, layer: Layer, wanted: Tensor, values: dict[str, Tensor], score_threshold: float
) -> tuple[Tensor, Tensor]:
    """What post-processing reads of a layer's output, in float and of the file; all of it within the network."""
    found = values[layer.name]
    if layer.name in plan.score_outputs:
        silent = silent_logit(score_threshold)
        return wanted.clamp(min=silent), found.clamp(min=silent)
    if layer.name in plan.box_outputs:
        level = plan.box_outputs.index(layer.name)
        anchors = plan.anchors_per_cell[level]
        logits = _per_anchor(values[plan.score_outputs[level]], anchors)
        kept = logits.amax(dim=1).sigmoid() >= score_threshold
        return _per_anchor(wanted, anchors)[kept], _per_anchor(found, anchors)[kept]
    return wanted, found


def _per_anchor(level: Tensor, anchors: int) -> Tensor:
    """(1, anchors * values, H, W) to (H * W * anchors, values)."""
    return level.permute(0, 2, 3, 1).reshape(-1, level.shape[1] // anchors)
