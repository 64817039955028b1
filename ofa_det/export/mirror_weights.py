"""Weights of a detector as TFLite wants them: batch norm folded, HWIO kernels, TF box order, one column a category id.

All of it is done on the weights, so none of it costs anything at run time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.layers import Layer
from ofa_det.arch.plan import LayerPlan
from ofa_det.detection.box_coder import TF_BOX_ORDER


@dataclass(frozen=True, kw_only=True)
class ConvolutionWeights:
    """A convolution with its bias.

    Args:
        kernel: (k, k, in, out) float32, or (k, k, channels, 1) of a depthwise layer.
        bias: (out,) float32.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


MirrorWeights = Mapping[str, ConvolutionWeights]
"""Weights by layer name."""


def fold_batch_norm(plan: LayerPlan, weights: Mapping[str, NDArray[np.float32]]) -> MirrorWeights:
    """Folds each batch norm into the convolution before it.

    Args:
        plan: the detector's layers.
        weights: a detector's state dict as arrays: `{layer}.weight` (out, in, k, k), `.bias` or `.norm.*`.

    Returns:
        Weights by layer name.

    Raises:
        ValueError: weights that the plan names are missing or of another shape.
    """
    folded = {}
    for layer in plan.layers:
        if layer.has_weights:
            folded[layer.name] = _fold(layer, weights)
    return folded


def _fold(layer: Layer, weights: Mapping[str, NDArray[np.float32]]) -> ConvolutionWeights:
    out, owner = layer.out_channels, layer.weights_of or layer.name
    shape = (out, layer.in_channels // layer.groups, layer.kernel_size, layer.kernel_size)
    kernel: NDArray[Any] = _weight(weights, f"{owner}.weight", shape)
    bias: NDArray[Any]
    if layer.batch_norm:
        gamma, beta, mean, variance = (
            _weight(weights, f"{layer.name}.norm.{key}", (out,)).astype(np.float64)
            for key in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + layer.batch_norm_epsilon)
        kernel, bias = kernel * scale[:, None, None, None], np.asarray(beta - mean * scale)
    else:
        bias = _weight(weights, f"{owner}.bias", (out,))
    # (out, in, k, k) -> (k, k, in, out); a depthwise kernel (channels, 1, k, k) -> (k, k, channels, 1).
    order = (2, 3, 0, 1) if layer.kind == "depthwise" else (2, 3, 1, 0)
    return ConvolutionWeights(
        kernel=np.ascontiguousarray(kernel.transpose(order), dtype=np.float32), bias=bias.astype(np.float32)
    )


def _weight(weights: Mapping[str, NDArray[np.float32]], key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if key not in weights:
        raise ValueError(f"expected a weight {key!r} of shape {shape}, found none")
    if weights[key].shape != shape:
        raise ValueError(f"expected {key!r} of shape {shape}, found {weights[key].shape}")
    return weights[key]


def with_tf_box_order(plan: LayerPlan, weights: MirrorWeights) -> MirrorWeights:
    """Permutes the box predictors' outputs from (dx, dy, dw, dh) to the op's (ty, tx, th, tw)."""
    permuted = dict(weights)
    for name in plan.box_outputs:
        out = np.arange(plan[name].out_channels).reshape(-1, 4)[:, TF_BOX_ORDER].reshape(-1)
        permuted[name] = ConvolutionWeights(kernel=weights[name].kernel[..., out], bias=weights[name].bias[out])
    return permuted


def with_box_factors(plan: LayerPlan, weights: MirrorWeights, factors: NDArray[np.float32]) -> MirrorWeights:
    """Scales box codes (ty, tx, th, tw) by factors (4,), for an op with other scales than those of training."""
    scaled = dict(weights)
    for name in plan.box_outputs:
        of_output = np.tile(factors, plan[name].out_channels // 4)
        kernel, bias = weights[name].kernel * of_output, weights[name].bias * of_output
        scaled[name] = ConvolutionWeights(kernel=kernel, bias=bias)
    return scaled


def with_score_columns(
    plan: LayerPlan, weights: MirrorWeights, class_labels: Sequence[int | None], unused_logits: Sequence[float]
) -> MirrorWeights:
    """Gives the class predictors one column per class index of the file.

    Args:
        plan: the detector's layers.
        weights: by layer name.
        class_labels: for each column, the detector's label in it, or None: no object is ever of that class.
        unused_logits: per level, the logit of the unused columns.

    Returns:
        The weights with the class predictors' outputs rearranged, anchor by anchor.
    """
    arranged = dict(weights)
    used = np.array([label is not None for label in class_labels])
    labels = np.array([0 if label is None else label for label in class_labels])
    for name, anchors, logit in zip(plan.score_outputs, plan.anchors_per_cell, unused_logits, strict=True):
        classes = plan[name].out_channels // anchors
        out = (np.arange(anchors)[:, None] * classes + labels).reshape(-1)
        keep = np.tile(used, anchors)
        arranged[name] = dataclasses.replace(
            weights[name],
            kernel=np.where(keep, weights[name].kernel[..., out], np.float32(0)),
            bias=np.where(keep, weights[name].bias[out], np.float32(logit)),
        )
    return arranged
