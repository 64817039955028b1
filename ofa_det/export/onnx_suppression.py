"""Suppression inside an ONNX graph, by its own NonMaxSuppression operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ofa_det.arch.description import PostProcessConfig


def with_suppression(model: onnx.ModelProto, every_anchor: Sequence[str], config: PostProcessConfig) -> onnx.ModelProto:
    """Appends suppression, as `detection.postprocessing.postprocess` does it.

    NonMaxSuppression keeps scores above the threshold, not those equal to it.

    Args:
        model: with the outputs boxes (1, A, 4) xyxy and scores (1, A, C); it is changed.
        every_anchor: the names of these two.
        config: thresholds and limits.

    Returns:
        The model, with the outputs that `evaluation.onnx` reads: boxes (N, 4), scores (N,), descending, and labels
        (N,).
    """
    graph = _Appended(model)
    boxes, scores = (graph.renamed(name, f"{name}_of_every_anchor") for name in every_anchor)
    list_of_boxes = graph.node("Squeeze", [boxes, graph.integers("batch_axis", [0])])
    list_of_scores = graph.node("Squeeze", [scores, graph.integers("score_batch_axis", [0])])
    if config.regular_nms:
        by_class, limit = graph.node("Transpose", [scores], perm=[0, 2, 1]), config.detections_per_class
    else:
        class_axis = graph.integers("class_axis", [2])
        best = graph.node("ReduceMax", [scores, class_axis], keepdims=1)
        by_class, limit = graph.node("Transpose", [best], perm=[0, 2, 1]), config.max_detections
    selected = graph.node(
        "NonMaxSuppression",
        [
            boxes,
            by_class,
            graph.integers("limit", [limit]),
            graph.floats("iou_threshold", [config.iou_threshold]),
            graph.floats("score_threshold", [config.score_threshold]),
        ],
    )
    anchor = graph.node("Gather", [selected, graph.integers("anchor_column", 2)], axis=1)
    if config.regular_nms:
        label = graph.node("Gather", [selected, graph.integers("class_column", 1)], axis=1)
    else:
        labels = graph.node("ArgMax", [list_of_scores], axis=1, keepdims=0)
        label = graph.node("Gather", [labels, anchor], axis=0)
    last_axis = graph.integers("last_axis", [1])
    positions = graph.node(
        "Concat", [graph.node("Unsqueeze", [column, last_axis]) for column in (anchor, label)], axis=1
    )
    found = graph.node("GatherND", [list_of_scores, positions])
    most = graph.integers("max_detections", [config.max_detections])
    kept = graph.node("Min", [graph.node("Shape", [found]), most])
    best_scores, order = graph.nodes("TopK", [found, kept], 2, axis=0, largest=1, sorted=1)
    kept_anchors = graph.node("Gather", [anchor, order], axis=0)
    graph.output("boxes", graph.node("Gather", [list_of_boxes, kept_anchors], axis=0), TensorProto.FLOAT, ["N", 4])
    graph.output("scores", best_scores, TensorProto.FLOAT, ["N"])
    graph.output("labels", graph.node("Gather", [label, order], axis=0), TensorProto.INT64, ["N"])
    onnx.checker.check_model(model)
    return model


class _Appended:
    """A graph that nodes are appended to; its outputs become inner values."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        del self._graph.output[:]

    def renamed(self, name: str, new: str) -> str:
        """Gives another name to what was an output, so that an output can have its name."""
        for node in self._graph.node:
            for values in (node.input, node.output):
                for index, value in enumerate(values):
                    if value == name:
                        values[index] = new
        return new

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Appends a node of one output."""
        (output,) = self.nodes(op, inputs, 1, **attributes)
        return output

    def nodes(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Appends a node."""
        number = len(self._graph.node)
        names = [f"suppression_{number}_{index}" for index in range(outputs)]
        self._graph.node.append(helper.make_node(op, list(inputs), names, f"suppression_{number}", **attributes))
        return names

    def output(self, name: str, value: str, kind: int, shape: list[str | int]) -> None:
        """Makes a value an output of the graph."""
        self._graph.node.append(helper.make_node("Identity", [value], [name], f"suppression_{name}"))
        self._graph.output.append(helper.make_tensor_value_info(name, kind, shape))

    def integers(self, name: str, values: int | list[int]) -> str:
        """Appends a constant."""
        return self._constant(name, np.array(values, np.int64))

    def floats(self, name: str, values: list[float]) -> str:
        """Appends a constant."""
        return self._constant(name, np.array(values, np.float32))

    def _constant(self, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.int64 | np.float32]]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(values, f"suppression_{name}"))
        return f"suppression_{name}"
