"""Writes tables of a flatbuffer whose schema has no generated code here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import flatbuffers

Scalar = Literal["int8", "int32", "uint32", "float32"]


@dataclass(frozen=True)
class Number:
    """A number and how it is stored."""

    value: float
    kind: Scalar


@dataclass(frozen=True)
class Numbers:
    """A vector of numbers."""

    values: Sequence[float]
    kind: Scalar


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        slots: how many fields its schema has.
        fields: the fields that are not left out, by slot. A union takes two: its type, then its table.
    """

    slots: int
    fields: dict[int, Field]


Field = str | Number | Numbers | Table | Sequence[str] | Sequence[Table]


def table_bytes(root: Table, identifier: bytes) -> bytes:
    """A flatbuffer of that root."""
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(_write(builder, root), identifier)
    return bytes(builder.Output())


def _write(builder: flatbuffers.Builder, table: Table) -> int:
    # What a table points to has to stand before it is begun.
    offsets = {slot: _offset(builder, field) for slot, field in table.fields.items() if not isinstance(field, Number)}
    builder.StartObject(table.slots)
    for slot, field in table.fields.items():
        if isinstance(field, Number):
            {
                "int8": builder.PrependInt8Slot,
                "int32": builder.PrependInt32Slot,
                "uint32": builder.PrependUint32Slot,
                "float32": builder.PrependFloat32Slot,
            }[field.kind](slot, field.value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    return int(builder.EndObject())


def _offset(builder: flatbuffers.Builder, field: Field) -> int:
    if isinstance(field, str):
        return int(builder.CreateString(field))
    if isinstance(field, Table):
        return _write(builder, field)
    if isinstance(field, Numbers):
        size = 1 if field.kind == "int8" else 4
        builder.StartVector(size, len(field.values), size)
        prepend = {
            "int8": builder.PrependInt8,
            "int32": builder.PrependInt32,
            "uint32": builder.PrependUint32,
            "float32": builder.PrependFloat32,
        }[field.kind]
        for value in reversed(field.values):
            prepend(value)
        return int(builder.EndVector())
    assert not isinstance(field, Number), "numbers stand in their table"
    members = [_offset(builder, member) for member in field]
    builder.StartVector(4, len(members), 4)
    for member in reversed(members):
        builder.PrependUOffsetTRelative(member)
    return int(builder.EndVector())
