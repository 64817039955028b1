"""What a layer costs on a phone's core, as a few counts that latency is linear in."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Final

import numpy as np
import numpy.typing as npt

from ofa_det.arch.layers import Layer

FEATURES: Final = (
    "pointwise_mmacs",
    "pointwise_melements",
    "convolution_mmacs",
    "depthwise3_mmacs",
    "depthwise5_mmacs",
    "depthwise7_mmacs",
    "depthwise_melements",
    "elementwise_melements",
    "hswish_melements",
    "vector_mweights",
    "ops",
    "postprocessing",
)
"""Millions (m) of multiply-accumulates, of elements read and written, of weights; number of ops.

`convolution` is a convolution with a kernel above 1x1, `depthwise7` a depthwise one of 7x7 or more; even kernels count
as the next larger ones. `vector` is a product with a 1x1 map: fully connected layers and squeeze-excite, bound by
reading their weights. `elementwise` is a pass that only moves or combines elements, counted by those that it writes; a
pool by those that it reads; `hswish` is that activation, for which some runtimes have no 8-bit kernel.
"""

FloatArray = npt.NDArray[np.float64]

POSTPROCESSING: Final = FEATURES.index("postprocessing")


def layer_features(layer: Layer) -> FloatArray:
    """The features of one layer: (len(FEATURES),)."""
    read, written = prod(layer.input_shapes[0]), prod(layer.output_shape)
    counts: dict[str, float] = {}
    passed, ops = 0, 1
    if layer.kind == "depthwise":
        counts[f"depthwise{min(max(layer.kernel_size | 1, 3), 7)}_mmacs"] = layer.macs / 1e6
        counts["depthwise_melements"] = (read + written) / 1e6
    elif layer.has_weights and layer.kernel_size > 1:
        counts["convolution_mmacs"] = layer.macs / 1e6
    elif layer.has_weights and layer.output_shape[1:] == (1, 1):
        counts["vector_mweights"] = layer.weight_count / 1e6
    elif layer.has_weights:
        counts["pointwise_mmacs"] = layer.macs / 1e6
        counts["pointwise_melements"] = (read + written) / 1e6
    else:
        ops = max(1, len(layer.inputs) - 1) if layer.kind == "add" else 1  # A file adds two at a time.
        passed = read if layer.kind == "pool" else ops * written
    if layer.activation in ("hswish", "hsigmoid"):  # ReLUs are clamps inside the kernel; these are ops of their own.
        ops += 1
        if layer.activation == "hswish":
            counts["hswish_melements"] = written / 1e6
        else:
            passed += written
    if padded := _padded_elements(layer):
        passed += padded
        ops += 1
    counts |= {"elementwise_melements": passed / 1e6, "ops": ops}
    return np.array([counts.get(name, 0.0) for name in FEATURES])


def network_features(layers: Iterable[Layer]) -> FloatArray:
    """The sum of the layers' features: (len(FEATURES),)."""
    return sum(map(layer_features, layers), np.zeros(len(FEATURES)))


def _padded_elements(layer: Layer) -> int:
    """Elements that a PAD op writes in front of the layer; none where its zeros are those of SAME."""
    if not layer.pads_unlike_same:
        return 0
    channels, height, width = layer.input_shapes[0]
    return channels * (height + sum(layer.margins[0])) * (width + sum(layer.margins[1]))
