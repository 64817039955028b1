"""Reads TensorFlow Lite Metadata by its schema's slots, without the code that writes it."""

from __future__ import annotations

import struct
from typing import Any

from flatbuffers import encode, number_types
from flatbuffers.table import Table


def root(content: bytes) -> Node:
    """The outermost table of a flatbuffer."""
    return Node(Table(bytearray(content), struct.unpack_from("<I", content)[0]))


class Node:
    """A table whose fields are read by slot."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def _at(self, slot: int) -> int:
        return self._table.Offset(4 + 2 * slot)

    def has(self, slot: int) -> bool:
        return bool(self._at(slot))

    def text(self, slot: int) -> str:
        return self._table.String(self._table.Pos + self._at(slot)).decode()

    def number(self, slot: int, flags: Any = number_types.Int8Flags) -> float:
        return self._table.Get(flags, self._table.Pos + self._at(slot)) if self.has(slot) else 0

    def table(self, slot: int) -> Node:
        position = self._table.Indirect(self._table.Pos + self._at(slot))
        return Node(Table(self._table.Bytes, position))

    def tables(self, slot: int) -> list[Node]:
        start = self._table.Vector(self._at(slot))
        places = [start + 4 * index for index in range(self._table.VectorLen(self._at(slot)))]
        return [Node(Table(self._table.Bytes, self._table.Indirect(place))) for place in places]

    def texts(self, slot: int) -> list[str]:
        start = self._table.Vector(self._at(slot))
        return [
            self._table.String(start + 4 * index).decode() for index in range(self._table.VectorLen(self._at(slot)))
        ]

    def numbers(self, slot: int, flags: Any = number_types.Float32Flags) -> list[float]:
        start, size = self._table.Vector(self._at(slot)), flags.bytewidth
        count = self._table.VectorLen(self._at(slot))
        return [encode.Get(flags.packer_type, self._table.Bytes, start + size * index) for index in range(count)]
