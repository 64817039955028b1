"""Feature maps of an ONNX detector: those that its predictions are made from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto


MOST_NODES = 20_000
"""Of a graph; each node has a bit for every other."""


def with_feature_maps(path: Path, images: tuple[int, ...]) -> tuple[bytes, Mapping[int, str]]:
    """The file with feature maps in the place of its outputs.

    Args:
        path: of the file, whose one input are images.
        images: shape of what it is given, (3, H, W), (H, W, 3), or with a batch in front.

    Returns:
        The new file, and its outputs (B, C, side, side) by side.

    Raises:
        ValueError: onnx is not installed, too large a graph, shapes that nothing tells, or no map is found.
    """
    try:
        import onnx
    except ImportError as error:
        raise ValueError(
            "expected the package onnx for the feature maps of an .onnx teacher, found none; "
            "pip install 'ofa-det[export]'"
        ) from error
    try:
        model = onnx.load(path, load_external_data=False)
        if len(model.graph.node) > MOST_NODES:
            raise ValueError(f"{len(model.graph.node)} nodes, more than {MOST_NODES}")
        shaped = onnx.shape_inference.infer_shapes(_of_shape(model, images), data_prop=True)
    except Exception as error:  # Of protobuf and of onnx, without a base class in common.
        raise ValueError(f"expected shapes of the layers in {path}, found {error}") from error
    try:
        maps = feature_maps(shaped)
    except ValueError as error:
        raise ValueError(f"{error} of {path}; label without --features, or simplify the file (onnxsim)") from error
    if not maps:
        raise ValueError(
            f"expected convolutions with square outputs in {path}, whose inputs are feature maps, found none"
        )
    del model.graph.output[:]
    for name in maps.values():
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    return model.SerializeToString(), maps


def feature_maps(model: ModelProto) -> dict[int, str]:
    """The last map of each side that all predictions of that side are made from.

    Predictions are the convolutions behind which there is none. Of YOLOX the map is where its head divides into classes
    and boxes, of a head of single layers their input.

    Args:
        model: with the shapes of its layers.

    Returns:
        Name of the map (B, C, side, side) by side.

    Raises:
        ValueError: a convolution whose output's shape is not known, so that it may be behind any other.
    """
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    producer: dict[str, int] = {}
    # Bit i of a node's ancestors is node i; a file has its nodes in an order in which they can run.
    ancestors: list[int] = []
    side_of: list[int | None] = []
    convolutions: list[int] = []
    followed = 0
    for number, node in enumerate(model.graph.node):
        before = [producer[name] for name in node.input if name in producer]
        ancestors.append(reduce(or_, (ancestors[one] | 1 << one for one in before), 0))
        shape = shapes.get(node.output[0], []) if node.output else []
        side_of.append(shape[2] if len(shape) == 4 and shape[2] == shape[3] > 1 else None)
        producer |= {name: number for name in node.output if name}  # Outputs left out have no name.
        if node.op_type == "Conv":
            if 0 in shape[2:] or len(shape) < 3:
                raise ValueError(f"expected a known shape of every convolution, found none of {node.output[0]!r}")
            if side_of[number]:
                convolutions.append(number)
                followed |= ancestors[number]
    found = {}
    for side in {side_of[number] for number in convolutions}:
        predictions = [one for one in convolutions if side_of[one] == side and not followed >> one & 1]
        common = reduce(and_, (ancestors[one] for one in predictions)) if predictions else 0
        of_side = [one for one in range(common.bit_length()) if common >> one & 1 and side_of[one] == side]
        if side and of_side:
            found[side] = model.graph.node[of_side[-1]].output[0]
    return dict(sorted(found.items(), reverse=True))


def _of_shape(model: ModelProto, images: tuple[int, ...]) -> Any:
    """A copy whose input has that shape, and whose other shapes are not stated."""
    copy = type(model)()
    copy.CopyFrom(model)
    initial = {tensor.name for tensor in copy.graph.initializer}
    (value,) = (value for value in copy.graph.input if value.name not in initial)
    for dim, length in zip(value.type.tensor_type.shape.dim, images, strict=True):
        dim.dim_value = length
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return copy
