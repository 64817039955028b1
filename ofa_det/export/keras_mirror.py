"""The layer plan as a Keras model, in the form TFLiteConverter fuses best.

With ranges the model says how it is to be quantized: a fake quantization stands behind every activation that the file
keeps, and the converter takes the range of each from there. Weights need none, since it quantizes them by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.layers import Activation, Layer
from ofa_det.arch.plan import IMAGES, LayerPlan
from ofa_det.export.mirror_weights import MirrorWeights
from ofa_det.export.tensorflow_import import keras, tf
from ofa_det.models.fake_quantization import BEFORE_ACTIVATION, GATE_RANGE, Range, Ranges, partial_sums

INPUT_NAME = "normalized_input_image_tensor"
"""The name the input has in the TF detection models."""

IMAGE_RANGE: Range = (-1.0, 127 / 128)
"""Of normalised bytes, in steps of exactly 1/128."""

PROBABILITY_RANGE: Range = (0.0, 255 / 256)
"""In steps of exactly 1/256, as the operator has it."""

_GATE_SUM_RANGE: Range = (0.0, 6.0)

# The converter fuses relu and relu6 into the convolution before them, and knows this spelling of HARD_SWISH.
_ACTIVATIONS: dict[Activation, Callable[[Any], Any]] = {
    "relu": lambda x: tf.nn.relu(x),
    "relu6": lambda x: tf.nn.relu6(x),
    "hswish": lambda x: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
}


def keras_mirror(plan: LayerPlan, weights: MirrorWeights, ranges: Ranges | None = None) -> keras.Model:
    """Builds the network that the plan describes.

    Box codes and logits leave it level by level, so that each keeps a quantization range of its own: int8 tensors that
    are concatenated have to share one.

    Args:
        plan: the layers of a file, see `LayerPlan.folded`.
        weights: by layer name.
        ranges: by tensor, see `models.fake_quantization`; none of a file that is not int8 throughout.

    Returns:
        A model from images (1, H, W, 3) float32 in [-1, 1) to the box codes (1, A_level, 4) of each level, followed by
        the logits (1, A_level, C) of each level.
    """
    images, values = _walked(plan, weights, _Quantize(ranges))
    outputs = []
    for names in (plan.box_outputs, plan.score_outputs):
        for name, anchors in zip(names, plan.anchors_per_cell, strict=True):
            channels, height, width = plan[name].output_shape
            shape = (height * width * anchors, channels // anchors)
            outputs.append(keras.layers.Reshape(shape, name=f"{_scope(name)}-list")(values[name]))
    return keras.Model(images, outputs, name="detector")


def classifier_mirror(plan: LayerPlan, weights: MirrorWeights, ranges: Ranges) -> keras.Model:
    """Builds the classifier that the plan describes.

    Args:
        plan: its layers, of which the last gives the logits (C, 1, 1).
        weights: by layer name.
        ranges: by tensor.

    Returns:
        A model from images (1, H, W, 3) float32 in [-1, 1) to probabilities (1, C).
    """
    quantize = _Quantize(ranges)
    images, values = _walked(plan, weights, quantize)
    logits = keras.layers.Reshape((plan.layers[-1].out_channels,), name="logits-list")(values[plan.layers[-1].name])
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    return keras.Model(images, quantize(probabilities, "probabilities", PROBABILITY_RANGE), name="classifier")


def _walked(plan: LayerPlan, weights: MirrorWeights, quantize: _Quantize) -> tuple[Any, dict[str, Any]]:
    """The input, and the value of every layer."""
    images = keras.Input((plan.resolution, plan.resolution, 3), batch_size=1, name=INPUT_NAME)
    values = {IMAGES: quantize(images, IMAGES, IMAGE_RANGE)}
    for layer in plan.layers:
        inputs = [values[name] for name in layer.inputs]
        values[layer.name] = _activate(layer, _apply(layer, inputs, weights, quantize), quantize)
    return images, values


class _Quantize:
    """Puts fake quantizations behind tensors, of a network that has ranges."""

    def __init__(self, ranges: Ranges | None) -> None:
        self._ranges = ranges

    def __call__(self, value: Any, name: str, fixed: Range | None = None) -> Any:
        if self._ranges is None:
            return value
        low, high = self._ranges[name] if fixed is None else fixed
        return _function(lambda x: tf.quantization.fake_quant_with_min_max_args(x, low, high), f"{name}-quantize")(
            value
        )


def _activate(layer: Layer, value: Any, quantize: _Quantize) -> Any:
    """The activation of a layer, with the ranges of what the file keeps around it."""
    name = f"{layer.name}-{layer.activation}"
    if layer.activation == "hsigmoid":
        # The 3 goes into the bias, so the file keeps the clipped sum and its sixth, whose ranges are known.
        value = quantize(_function(lambda x: tf.nn.relu6(x + 3.0), f"{name}sum")(value), f"{name}sum", _GATE_SUM_RANGE)
        return quantize(_function(lambda x: x * (1.0 / 6.0), name)(value), layer.name, GATE_RANGE)
    if layer.activation == "hswish":
        value = quantize(value, layer.name + BEFORE_ACTIVATION)
    if layer.activation != "none":
        value = _function(_ACTIVATIONS[layer.activation], name)(value)
    return quantize(value, layer.name)


def _apply(layer: Layer, inputs: list[Any], weights: MirrorWeights, quantize: _Quantize) -> Any:
    """One layer without its activation."""
    name = f"{_scope(layer.name)}-{layer.kind}"
    if layer.kind == "pool":
        return keras.layers.GlobalAveragePooling2D(keepdims=True, name=name)(inputs[0])
    if layer.kind == "multiply":
        return keras.layers.Multiply(name=name)(inputs)
    if layer.kind == "add":
        for partial in partial_sums(layer):
            total = keras.layers.Add(name=_scope(partial))(inputs[:2])
            inputs = [quantize(total, partial), *inputs[2:]]
        return keras.layers.Add(name=name)(inputs)
    if layer.kind == "concat":
        return keras.layers.Concatenate(name=name)(inputs)
    if layer.kind == "resize":
        channels, height, width = layer.output_shape
        # Becomes RESIZE_NEAREST_NEIGHBOR; an UpSampling2D becomes TILEs and RESHAPEs. Of a side that is doubled
        # half-pixel centres change nothing but the version of the op, to one that the runtimes of 2020 do not know.
        return keras.layers.Lambda(
            lambda x: tf.raw_ops.ResizeNearestNeighbor(images=x, size=(height, width), half_pixel_centers=False),
            output_shape=(height, width, channels),
            name=name,
        )(inputs[0])
    if layer.kind not in ("conv", "depthwise"):
        raise ValueError(f"expected the layer kinds of a detector, found {layer.kind!r} in {layer.name!r}")
    features, padding = inputs[0], "same"
    if layer.pads_unlike_same:
        features, padding = keras.layers.ZeroPadding2D(layer.margins, name=f"{name}_pad")(features), "valid"
    shape = {"kernel_size": layer.kernel_size, "strides": layer.stride, "padding": padding, "name": name}
    convolution = (
        keras.layers.DepthwiseConv2D(**shape)
        if layer.kind == "depthwise"
        else keras.layers.Conv2D(layer.out_channels, **shape)
    )
    result = convolution(features)
    convolution.set_weights([weights[layer.name].kernel, _unlike(weights[layer.name].bias)])
    return result


def _unlike(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """A bias that is not the same in all channels, by a millionth.

    The converter stores equal values as one, and quantizes that one with the scale of the first channel alone (seen in
    TensorFlow 2.21): a gate whose biases are all 0 + 3 would get biases of anything between 1 and 9.
    """
    if len(bias) > 1 and (bias == bias[0]).all():
        bias = bias.copy()
        bias[0] += np.float32(1e-6) * (1 + abs(bias[0]))
    return bias


def _function(function: Callable[[Any], Any], name: str) -> Any:
    """A function as a Keras layer."""
    return keras.layers.Activation(function, name=_scope(name))


def activation_of(tensor_name: str, plan: LayerPlan) -> str | None:
    """The name that `models.fake_quantization` has for a tensor of a file, if it is one of the activations there.

    The converter names a tensor after all that went into it, the last first: `a/b_1/C;a/d_1/E`.
    """
    layers = {_scope(layer.name): layer for layer in plan.layers}
    for part in (part for path in tensor_name.split(";") for part in path.split("/")):
        scope, _, end = part.rpartition("-")
        layer = layers.get(scope)
        if layer is None:
            continue
        end = re.sub(r"_\d+$", "", end)
        if layer.activation == "hswish" and end == layer.kind:
            return layer.name + BEFORE_ACTIVATION
        ends = (layer.activation,) if layer.activation == "hsigmoid" else (layer.activation, layer.kind)
        return layer.name if end in ends else None
    return None


def _scope(layer_name: str) -> str:
    """A layer's name as TensorFlow allows it in a scope.

    What is appended to it follows a hyphen, which no layer's name has, so that `activation_of` finds its way back.
    """
    return layer_name.replace(".", "_")
