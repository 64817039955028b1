"""Layers as a `.tflite` file with weights drawn at random: something to time, without training and without TensorFlow.

The ops are those of an exported detector, in its order: batch norms are folded, an activation is fused or an op of its
own as the converter has it, and behind the last layer come the ops of `DetectionTail`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.layers import Layer, Shape
from ofa_det.arch.plan import IMAGES, LayerPlan
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP, op_attributes, write_attributes
from ofa_det.latency.graph_writer import Array, GraphWriter, quantization
from ofa_det.latency.latencies import Precision

_FUSED: Final = {
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "hsigmoid": schema.ActivationFunctionType.RELU6,  # of the convolution; a product with 1/6 follows
}
_BOX_SCALES: Final = (10.0, 10.0, 5.0, 5.0)


def detector_file(plan: LayerPlan, postprocess: PostProcessConfig, *, precision: Precision, seed: int = 0) -> bytes:
    """A detector's plan as the file that it would become, with random weights.

    Args:
        plan: of a detector, batch norms folded.
        postprocess: attributes of the post-processing op.
        precision: of the network; `uint8` takes uint8 images.
        seed: of the weights.
    """
    writer = GraphWriter(precision=precision, seed=seed)
    values = _append_network(writer, plan.layers)
    anchors = plan.num_anchors
    joined = []
    for what, outputs, width in (("boxes", plan.box_outputs, 4), ("scores", plan.score_outputs, num_columns(plan))):
        levels = [_as_list(writer, values[name], width) for name in outputs]
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        floats = schema.TensorType.FLOAT32
        result = writer.tensor(what, (1, anchors, width), kind=floats)
        joined.append(writer.op("CONCATENATION", levels, [result], options))
    boxes, logits = joined
    scores = writer.tensor("probabilities", writer.shape(logits), kind=schema.TensorType.FLOAT32)
    writer.op("LOGISTIC", [logits], [scores])
    placed = np.random.default_rng(seed).uniform(0.1, 0.9, (anchors, 4)).astype(np.float32)
    return writer.finish(_append_postprocess(writer, boxes, scores, placed, postprocess))


def postprocess_file(anchors: int, classes: int, config: PostProcessConfig) -> bytes:
    """The post-processing op alone, on inputs box codes (1, A, 4) and scores (1, A, C)."""
    writer = GraphWriter()
    boxes, scores = writer.input("boxes", (1, anchors, 4)), writer.input("scores", (1, anchors, classes))
    side = np.ceil(np.sqrt(anchors))
    index = np.arange(anchors)
    centres = [(index // side + 0.5) / side, (index % side + 0.5) / side]
    sizes = [np.full(anchors, 0.15), np.full(anchors, 0.15)]
    placed = np.stack([*centres, *sizes], axis=1).astype(np.float32)
    return writer.finish(_append_postprocess(writer, boxes, scores, placed, config))


def num_columns(plan: LayerPlan) -> int:
    """Score columns of a detector."""
    return plan[plan.score_outputs[0]].out_channels // plan.anchors_per_cell[0]


def _append_network(writer: GraphWriter, layers: Sequence[Layer]) -> dict[str, int]:
    """The tensors of the layers, by name; a plan has them in the order in which they are read."""
    values: dict[str, int] = {}
    for layer in layers:
        for name, shape in zip(layer.inputs, layer.input_shapes, strict=True):
            if name == IMAGES and name not in values:
                values[name] = _append_images(writer, shape)
        values[layer.name] = _append_layer(writer, layer, [values[name] for name in layer.inputs])
    return values


def _append_images(writer: GraphWriter, shape: Shape) -> int:
    if not writer.quantized:
        return writer.input(IMAGES, _nhwc(shape))
    images = writer.input(IMAGES, _nhwc(shape), kind=schema.TensorType.UINT8)
    result = writer.tensor(f"{IMAGES}/int8", _nhwc(shape))
    return writer.op("QUANTIZE", [images], [result], schema.QuantizeOptionsT())


def _append_layer(writer: GraphWriter, layer: Layer, inputs: list[int]) -> int:
    # Where an activation is an op of its own, the plain output gets another name.
    separate = layer.activation in ("hswish", "hsigmoid")
    name = f"{layer.name}/{layer.kind}" if separate else layer.name
    output = writer.tensor(name, _nhwc(layer.output_shape))
    if layer.has_weights:
        _append_kernel(writer, layer, inputs[0], output)
    else:
        _append_pass(writer, layer, inputs, output)
    if not separate:
        return output
    activated = writer.tensor(layer.name, writer.shape(output))
    if layer.activation == "hswish":
        return writer.op("HARD_SWISH", [output], [activated], schema.HardSwishOptionsT())
    sixth = np.array(1 if writer.quantized else 1 / 6, np.int8 if writer.quantized else np.float32)
    factor = writer.constant(f"{layer.name}/sixth", sixth, quantization([1 / 6], [0]) if writer.quantized else None)
    return writer.op("MUL", [output, factor], [activated], schema.MulOptionsT())


def _append_kernel(writer: GraphWriter, layer: Layer, source: int, output: int) -> None:
    fused = _FUSED.get(layer.activation, schema.ActivationFunctionType.NONE)
    size, depthwise = layer.kernel_size, layer.kind == "depthwise"
    shape = (1, size, size, layer.out_channels) if depthwise else (layer.out_channels, size, size, layer.in_channels)
    weights, bias = writer.weights(f"{layer.name}/weights", shape, 3 if depthwise else 0)
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.strideH = options.strideW = layer.stride
    options.dilationHFactor = options.dilationWFactor = 1
    options.padding, options.fusedActivationFunction = schema.Padding.SAME, fused
    if depthwise:
        options.depthMultiplier = 1
    if layer.pads_unlike_same:
        options.padding = schema.Padding.VALID
        source = _append_pad(writer, layer, source)
    writer.op("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [source, weights, bias], [output], options)


def _append_pad(writer: GraphWriter, layer: Layer, source: int) -> int:
    vertical, horizontal = layer.margins
    margins = np.array([(0, 0), vertical, horizontal, (0, 0)], np.int32)
    shape = [side + sum(margin) for side, margin in zip(writer.shape(source), margins.tolist(), strict=True)]
    padded = writer.tensor(f"{layer.name}/pad", shape)
    return writer.op("PAD", [source, writer.constant(f"{layer.name}/margins", margins)], [padded], schema.PadOptionsT())


def _append_pass(writer: GraphWriter, layer: Layer, inputs: list[int], output: int) -> None:
    if layer.kind == "pool":
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axes = writer.constant(f"{layer.name}/axes", np.array([1, 2], np.int32))
        writer.op("MEAN", [inputs[0], axes], [output], options)
    elif layer.kind == "resize":
        sides = writer.constant(f"{layer.name}/size", np.array(layer.output_shape[1:], np.int32))
        options = schema.ResizeNearestNeighborOptionsT()
        options.halfPixelCenters = True
        writer.op("RESIZE_NEAREST_NEIGHBOR", [inputs[0], sides], [output], options)
    elif layer.kind == "concat":
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        writer.op("CONCATENATION", inputs, [output], options)
    elif layer.kind == "multiply":
        writer.op("MUL", inputs, [output], schema.MulOptionsT())
    else:
        total = inputs[0]
        for i, other in enumerate(inputs[1:], start=1):  # A file adds two at a time.
            last = i == len(inputs) - 1
            result = output if last else writer.tensor(f"{layer.name}/{i}", writer.shape(output))
            total = writer.op("ADD", [total, other], [result], schema.AddOptionsT())


def _as_list(writer: GraphWriter, features: int, width: int) -> int:
    """Of a level's predictions (1, H, W, a x width) the list (1, H W a, width), as float32."""
    name = writer.name(features)
    shape = (1, prod(writer.shape(features)) // width, width)
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    sizes = writer.constant(f"{name}/shape", np.array(shape, np.int32))
    listed = writer.op("RESHAPE", [features, sizes], [writer.tensor(f"{name}/list", shape)], options)
    if not writer.quantized:
        return listed
    as_float = writer.tensor(f"{name}/float", shape, kind=schema.TensorType.FLOAT32)
    return writer.op("DEQUANTIZE", [listed], [as_float], schema.DequantizeOptionsT())


def _append_postprocess(
    writer: GraphWriter, boxes: int, scores: int, anchors: Array, config: PostProcessConfig
) -> list[int]:
    shapes = [(1, config.max_detections, 4), (1, config.max_detections), (1, config.max_detections), (1,)]
    floats = schema.TensorType.FLOAT32
    outputs = [writer.tensor(f"{POSTPROCESS_OP}:{i}", shape, kind=floats) for i, shape in enumerate(shapes)]
    attributes = op_attributes(config, num_classes=writer.shape(scores)[2], box_scales=_BOX_SCALES)
    inputs = [boxes, scores, writer.constant("anchors", anchors)]
    writer.op("CUSTOM", inputs, outputs, custom=POSTPROCESS_OP, attributes=write_attributes(attributes))
    return outputs


def _nhwc(shape: Shape) -> tuple[int, int, int, int]:
    return 1, shape.height, shape.width, shape.channels
