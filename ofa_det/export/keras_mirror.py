"""The layer plan as a Keras model, in the form TFLiteConverter fuses best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ofa_det.arch.layers import Activation, Layer
from ofa_det.arch.plan import IMAGES, LayerPlan
from ofa_det.export.mirror_weights import MirrorWeights
from ofa_det.export.tensorflow_import import keras, tf

INPUT_NAME = "normalized_input_image_tensor"
"""The name the input has in the TF detection models."""

# The converter fuses relu and relu6 into the convolution before them, and knows this spelling of HARD_SWISH.
_ACTIVATIONS: dict[Activation, Callable[[Any], Any]] = {
    "relu": lambda x: tf.nn.relu(x),
    "relu6": lambda x: tf.nn.relu6(x),
    "hswish": lambda x: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
    "hsigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
}


def keras_mirror(plan: LayerPlan, weights: MirrorWeights) -> keras.Model:
    """Builds the network that the plan describes.

    Box codes and logits leave it level by level, so that each keeps a quantization range of its own: int8 tensors that
    are concatenated have to share one.

    Args:
        plan: the layers of a file, see `LayerPlan.folded`.
        weights: by layer name.

    Returns:
        A model from images (1, H, W, 3) float32 in [-1, 1) to the box codes (1, A_level, 4) of each level, followed by
        the logits (1, A_level, C) of each level.
    """
    images = keras.Input((plan.resolution, plan.resolution, 3), batch_size=1, name=INPUT_NAME)
    values = {IMAGES: images}
    for layer in plan.layers:
        inputs = [values[name] for name in layer.inputs]
        result = _apply(layer, inputs, weights)
        if layer.activation != "none":
            # With a hyphen, which no layer's name has.
            name = f"{_scope(layer.name)}-{layer.activation}"
            result = keras.layers.Activation(_ACTIVATIONS[layer.activation], name=name)(result)
        values[layer.name] = result

    outputs = []
    for names in (plan.box_outputs, plan.score_outputs):
        for name, anchors in zip(names, plan.anchors_per_cell, strict=True):
            channels, height, width = plan[name].output_shape
            shape = (height * width * anchors, channels // anchors)
            outputs.append(keras.layers.Reshape(shape, name=_scope(f"{name}.per_anchor"))(values[name]))
    return keras.Model(images, outputs, name="detector")


def _apply(layer: Layer, inputs: list[Any], weights: MirrorWeights) -> Any:
    """One layer without its activation."""
    name = _scope(layer.name)
    if layer.kind == "pool":
        return keras.layers.GlobalAveragePooling2D(keepdims=True, name=name)(inputs[0])
    if layer.kind == "multiply":
        return keras.layers.Multiply(name=name)(inputs)
    if layer.kind == "add":
        return keras.layers.Add(name=name)(inputs)
    if layer.kind == "concat":
        return keras.layers.Concatenate(name=name)(inputs)
    if layer.kind == "resize":
        _, height, width = layer.output_shape
        # Becomes RESIZE_NEAREST_NEIGHBOR; an UpSampling2D becomes TILEs and RESHAPEs.
        return keras.ops.image.resize(inputs[0], (height, width), interpolation="nearest")
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
    convolution.set_weights([weights[layer.name].kernel, weights[layer.name].bias])
    return result


def _scope(layer_name: str) -> str:
    """A layer's name as TensorFlow allows it in a scope."""
    return layer_name.replace(".", "_")
