"""Each op of a `.tflite` file as a file of its own, so that any interpreter can time it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from ofa_det.artefacts.tflite_content import op_name, read_tables, write_tables


@dataclass(frozen=True, kw_only=True)
class ExtractedOp:
    """One op.

    Args:
        index: in the graph's order.
        kind: its name, a custom op's own.
        output: name of its first output tensor.
        inputs: the graph's tensors that are the file's inputs, in order; empty if all it reads is constant.
        content: the file.
    """

    index: int
    kind: str
    output: str
    inputs: tuple[int, ...]
    content: bytes


def extract_ops(content: bytes) -> Iterator[ExtractedOp]:
    """The ops of the main graph, in its order.

    Args:
        content: a `.tflite` flatbuffer.
    """
    model = read_tables(content, where="the file")
    graph = model.subgraphs[0]
    for index, op in enumerate(graph.operators):
        code = model.operatorCodes[op.opcodeIndex]
        constants = {int(i) for i in op.inputs if i >= 0 and _is_constant(model, graph.tensors[i])}
        variables = tuple(dict.fromkeys(int(i) for i in op.inputs if i >= 0 and int(i) not in constants))
        yield ExtractedOp(
            index=index,
            kind=op_name(code),
            output=_text(graph.tensors[op.outputs[0]].name),
            inputs=variables,
            content=_one_op_file(model, graph, op, code, variables),
        )


def _one_op_file(model: Any, graph: Any, op: Any, code: Any, variables: tuple[int, ...]) -> bytes:
    single, subgraph = schema.ModelT(), schema.SubGraphT()
    single.version, single.subgraphs, single.operatorCodes = 3, [subgraph], [code]
    single.buffers = [schema.BufferT()]
    subgraph.tensors = []
    place: dict[int, int] = {}
    for tensor in dict.fromkeys([*map(int, op.inputs), *map(int, op.outputs)]):
        if tensor < 0:
            place[tensor] = tensor  # An optional input that is left out.
            continue
        copied = copy(graph.tensors[tensor])
        copied.buffer = 0
        if _is_constant(model, graph.tensors[tensor]):
            single.buffers.append(model.buffers[graph.tensors[tensor].buffer])
            copied.buffer = len(single.buffers) - 1
        place[tensor] = len(subgraph.tensors)
        subgraph.tensors.append(copied)
    alone = copy(op)
    alone.opcodeIndex = 0
    alone.inputs = [place[int(tensor)] for tensor in op.inputs]
    alone.outputs = [place[int(tensor)] for tensor in op.outputs]
    subgraph.operators = [alone]
    subgraph.inputs = [place[tensor] for tensor in variables]
    subgraph.outputs = list(alone.outputs)
    return write_tables(single)


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data if model.buffers and tensor.buffer else None
    return data is not None and len(data) > 0


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
