"""Whether an ONNX file keeps weights in other files, from its bytes alone: it names them, and may name any path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

# Fields of onnx.proto3 that lead to a tensor: message -> number of the field -> message in it.
_MESSAGES: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION, _KEY, _VALUE = 13, 14, 1, 2
_EXTERNAL = 1
_VARINT, _EIGHT_BYTES, _LENGTH, _GROUP, _GROUP_END, _FOUR_BYTES = range(6)
_TAG_BITS = 0xFFFF_FFFF
"""Of a tag; parsers drop what stands above."""
_DEEPEST = 128
"""Beyond the 100 levels that protobuf reads: a runtime must not follow a file to where this does not look."""


def external_data(content: bytes) -> str | None:
    """The file that the first tensor with external data names, empty if it names none; None without such a tensor.

    Bytes that are no protobuf message are passed over: the runtime refuses them with a message of its own.
    """
    try:
        return next(_locations("model", memoryview(content), 0), None)
    except (IndexError, ValueError):
        return None


def _locations(message: str, content: memoryview, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if message == "tensor":
        fields = list(_fields(content))
        named = [value for number, value in fields if number == _EXTERNAL_DATA and isinstance(value, memoryview)]
        if named or (_DATA_LOCATION, _EXTERNAL) in fields:
            entries = map(dict, map(_fields, named))
            yield {_text(entry.get(_KEY)): _text(entry.get(_VALUE)) for entry in entries}.get("location", "")
        return
    for number, value in _fields(content):
        if (inner := _MESSAGES[message].get(number)) is not None and isinstance(value, memoryview):
            yield from _locations(inner, value, depth + 1)


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each number or length-delimited field of a protobuf message.

    The others are passed over, and so is what stands in groups: parsers read past a field of another type than theirs.
    """
    position = groups = 0
    while position < len(content):
        tag, position = _varint(content, position)
        kind, number = tag & 7, (tag & _TAG_BITS) >> 3
        if kind in (_GROUP, _GROUP_END):
            groups += 1 if kind == _GROUP else -1
            continue
        if kind == _VARINT:
            value, position = _varint(content, position)
            if not groups:
                yield number, value
            continue
        if kind == _LENGTH:
            length, position = _varint(content, position)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {kind}")
        if position + length > len(content):
            raise ValueError("a field that is longer than its message")
        if kind == _LENGTH and not groups:
            yield number, content[position : position + length]
        position += length


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the least first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")


def _text(value: memoryview | int | None) -> str:
    return bytes(value).decode(errors="replace") if isinstance(value, memoryview) else ""
