"""What a layer costs on a phone's core, as a few counts that latency is linear in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from ofa_det.arch.layer_plan import Layer

FEATURES: Final = (
    "pointwise_mmacs",
    "pointwise_melements",
    "convolution_mmacs",
    "depthwise3_mmacs",
    "depthwise5_mmacs",
    "depthwise_melements",
    "elementwise_melements",
    "vector_mweights",
    "ops",
)
"""Millions (m) of multiply-accumulates, of elements read and written, of weights; number of ops.

`convolution` is a convolution with a kernel above 1x1, `depthwise5` a depthwise one of 5x5 or more, `vector` a product
with a 1x1 map: fully connected layers and squeeze-excite, bound by reading their weights.
"""

FeatureVector = npt.NDArray[np.float64]


def layer_features(layer: Layer) -> FeatureVector:
    """The features of one layer: (len(FEATURES),)."""
    read = layer.in_channels * layer.in_height * layer.in_width
    written = layer.out_channels * layer.out_height * layer.out_width
    counts: dict[str, float] = {"ops": 1.0}
    if layer.kind == "depthwise":
        counts["depthwise3_mmacs" if layer.kernel_size < 5 else "depthwise5_mmacs"] = layer.macs / 1e6
        counts["depthwise_melements"] = (read + written) / 1e6
    elif layer.has_weights and layer.kernel_size > 1:
        counts["convolution_mmacs"] = layer.macs / 1e6
    elif layer.has_weights and layer.out_height * layer.out_width == 1:
        counts["vector_mweights"] = layer.weight_count / 1e6
    elif layer.has_weights:
        counts["pointwise_mmacs"] = layer.macs / 1e6
        counts["pointwise_melements"] = (read + written) / 1e6
    else:
        counts["elementwise_melements"] = read / 1e6
    if layer.activation in ("hswish", "hsigmoid"):  # ReLUs are clamps inside the kernel; these are ops of their own.
        counts["elementwise_melements"] = counts.get("elementwise_melements", 0.0) + written / 1e6
        counts["ops"] += 1
    return np.array([counts.get(name, 0.0) for name in FEATURES])


def network_features(layers: Iterable[Layer]) -> FeatureVector:
    """The sum of the layers' features: (len(FEATURES),)."""
    total = np.zeros(len(FEATURES))
    for layer in layers:
        total += layer_features(layer)
    return total
