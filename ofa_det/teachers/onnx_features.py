"""Feature maps of an ONNX detector: those that its predictions are made from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto


def with_feature_maps(path: Path, size: tuple[int, int]) -> tuple[bytes, Mapping[int, str]]:
    """The file with feature maps in the place of its outputs.

    Args:
        path: of the file, whose first input are images.
        size: (height, width) of the images, in pixels.

    Returns:
        The new file, and its outputs (B, C, side, side) by side.

    Raises:
        ValueError: onnx is not installed, or no map is found.
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
        shaped = onnx.shape_inference.infer_shapes(_of_one_image(model, size))
    except Exception as error:  # Of protobuf and of onnx, without a base class in common.
        raise ValueError(f"expected shapes of the layers in {path}, found {error}") from error
    maps = feature_maps(shaped)
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
        model: with the shapes of its layers, for one image.

    Returns:
        Name of the map (1, C, side, side) by side.
    """
    values = (*model.graph.value_info, *model.graph.output)
    sides = {value.name: _square_side(value.type.tensor_type.shape.dim) for value in values}
    producer: dict[str, int] = {}
    # Bit i of a node's ancestors is node i; a file has its nodes in an order in which they can run.
    ancestors: list[int] = []
    side_of: list[int | None] = []
    followed = 0
    for number, node in enumerate(model.graph.node):
        before = [producer[name] for name in node.input if name in producer]
        ancestors.append(reduce(or_, (ancestors[one] | 1 << one for one in before), 0))
        side_of.append(sides.get(node.output[0]) if node.output else None)
        producer |= dict.fromkeys(node.output, number)
        if node.op_type == "Conv" and side_of[number]:
            followed |= ancestors[number]
    predictions: dict[int, list[int]] = {}
    for number, node in enumerate(model.graph.node):
        side = side_of[number]
        if node.op_type == "Conv" and side and not followed >> number & 1:
            predictions.setdefault(side, []).append(number)
    found = {}
    for side, numbers in predictions.items():
        common = reduce(and_, (ancestors[number] for number in numbers))
        of_side = [number for number in range(common.bit_length()) if common >> number & 1 and side_of[number] == side]
        if of_side:
            found[side] = model.graph.node[of_side[-1]].output[0]
    return found


def _of_one_image(model: ModelProto, size: tuple[int, int]) -> ModelProto:
    """A copy whose input is one image of that size."""
    copy = type(model)()
    copy.CopyFrom(model)
    initial = {tensor.name for tensor in copy.graph.initializer}
    (images,) = (value for value in copy.graph.input if value.name not in initial)
    dims = images.type.tensor_type.shape.dim
    if len(dims) == 4:
        given = [1, None, *size] if dims[1].dim_value == 3 else [1, *size, None]
        for dim, value in zip(dims, given, strict=True):
            if value is not None:
                dim.dim_value = value
    return copy


def _square_side(dims: object) -> int | None:
    """Side of a map of one image; None if it is none."""
    shape = [dim.dim_value for dim in dims]  # type: ignore[attr-defined]
    return shape[2] if len(shape) == 4 and shape[0] == 1 and shape[2] == shape[3] > 1 else None
