"""Typed records as JSON or YAML: dataclasses to plain values and, strictly, back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from ofa_det.artefacts.files import read_json, shown, write_json

T = TypeVar("T")

_MOST_YAML_VALUES = 200_000
"""Our largest file, a lookup table of latencies, has a hundredth of it."""


class Record(Protocol):
    """A dataclass with a file format of its own."""

    SCHEMA_VERSION: ClassVar[int]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


RecordT = TypeVar("RecordT", bound=Record)


def to_plain(value: Any) -> Any:
    """A value of dataclasses, mappings and sequences as JSON types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[T], value: Any, *, where: str) -> T:
    """Inverse of `to_plain`.

    Args:
        kind: a dataclass whose fields are dataclasses, tuples, mappings, optional or plain types.
        value: JSON types; fields with a default may be missing.
        where: what is read, for the error.

    Raises:
        ValueError: a key that is unknown or missing, a value of another type, or one that `kind` refuses.
    """
    try:
        found: T = _convert(kind, value, "")
    except ValueError as error:
        raise ValueError(f"{where}: {error}; correct it, or make it anew") from error
    return found


def record_content(record: Record) -> dict[str, Any]:
    """A record as JSON types, with its `schema_version`; `parse_record` is the inverse."""
    return {"schema_version": record.SCHEMA_VERSION, **to_plain(record)}


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Writes a record with its `schema_version`, atomically."""
    write_json(path, record_content(record))


def read_record(path: str | os.PathLike[str], kind: type[RecordT]) -> RecordT:
    """Reads a record.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another schema version, or not such a record.
    """
    return parse_record(read_json(path), kind, where=os.fspath(path))


def parse_record(content: Any, kind: type[RecordT], *, where: str) -> RecordT:
    """Reads a record from JSON types.

    Raises:
        ValueError: another schema version, or not such a record.
    """
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found != kind.SCHEMA_VERSION:
        version = "none" if found is None else shown(found)
        raise ValueError(f"expected {where} of schema_version {kind.SCHEMA_VERSION}, found {version}; make it anew")
    return from_plain(kind, {key: item for key, item in content.items() if key != "schema_version"}, where=where)


class _BlockDumper(yaml.SafeDumper):
    """Writes an option a line, lists within their line."""


_BlockDumper.add_representer(
    list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
)


def to_yaml(value: Any) -> str:
    """A dataclass or mapping as complete YAML."""
    text: str = yaml.dump(to_plain(value), Dumper=_BlockDumper, sort_keys=False, width=120)
    return text


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Reads a YAML file.

    Raises:
        ValueError: the file is not YAML, or its aliases stand for more than a configuration can hold.
    """
    return parse_yaml(Path(path).read_bytes(), where=os.fspath(path))


def parse_yaml(content: bytes | str, *, where: str) -> Any:
    """Reads YAML that may come from anywhere.

    Args:
        content: the text.
        where: what is read, for the error.

    Raises:
        ValueError: not YAML, values nested deeper than Python can follow, or aliases that stand for more than
            `_MOST_YAML_VALUES` values.
    """
    try:
        loader = yaml.SafeLoader(content)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _written_out(node, {}) > _MOST_YAML_VALUES:
                raise yaml.MarkedYAMLError(problem=f"aliases that stand for more than {_MOST_YAML_VALUES} values")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    # PyYAML lets a value that is not what its tag says fail in whatever way Python does.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"expected YAML in {where}, found {_yaml_fault(error)}; correct it") from error


def _yaml_fault(error: Exception) -> str:
    """What PyYAML has refused, in words for whoever wrote it."""
    if isinstance(error, RecursionError):
        return "values nested too deeply"
    if isinstance(error, yaml.reader.ReaderError):
        return f"bytes that are no text at position {error.position}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return "a value that is not what its tag says"
    unknown = str(error.problem).removeprefix("could not determine a constructor for the tag ")
    problem = error.problem if unknown == error.problem else f"the tag {unknown:.60}, which stands for nothing here"
    mark = error.problem_mark
    return f"{problem}" if mark is None else f"{problem} in line {mark.line + 1}, column {mark.column + 1}"


def _written_out(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Values below a node with every alias written out; infinite for one that holds itself."""
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)] = math.inf  # Until it is known, so that a cycle counts as without end.
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    sizes[id(node)] = 1 + sum(_written_out(part, sizes) for part in parts)
    return sizes[id(node)]


def check_identity(found: Mapping[str, Any], expected: Mapping[str, Any], *, where: str, mend: str) -> None:
    """Refuses to go on with what belongs to something else.

    Args:
        found: identity that a file states.
        expected: identity that is wanted.
        where: the file.
        mend: what the user can do.

    Raises:
        ValueError: naming the first key that differs.
    """
    wanted = json.loads(json.dumps(to_plain(expected)))  # As the file would hold it, so that tuples equal lists.
    for key, one, other in _differences(wanted, found):
        raise ValueError(f"expected {key} {one!r:.80} in {where}, found {other!r:.80}; {mend}")


def _differences(
    wanted: Mapping[str, Any], found: Mapping[str, Any], within: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Values that differ, by the dots of their keys, as options are named."""
    for key in sorted(wanted.keys() | found.keys()):
        one, other = wanted.get(key), found.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one and other:
            yield from _differences(one, other, f"{within}{key}.")
        elif one != other and not (one == [] and key not in found):  # A list that is younger than the file was empty.
            yield f"{within}{key}", one, other


def _convert(kind: Any, value: Any, path: str) -> Any:
    """`value` as `kind`; `path` says where in the record it stands."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        *others, last = (argument for argument in arguments if argument is not type(None))
        for kind in others:
            with contextlib.suppress(ValueError):
                return _convert(kind, value, path)
        return _convert(last, value, path)
    if origin is Literal:
        return value if value in arguments else _fail(path, f"one of {', '.join(map(repr, arguments))}", value)
    if origin is tuple:
        return _convert_tuple(arguments, value, path)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return _fail(path, "an object", value)
        return {key: _convert(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _convert_dataclass(kind, value, path)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= sys.float_info.max else _fail(path, "a float", value)
    if kind is int and isinstance(value, int) and abs(value) >= 2**63:
        return _fail(path, "an int of 64 bits", value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    return _fail(path, f"{'an' if kind is int else 'a'} {kind.__name__}", value)


def _convert_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        return _fail(path, "a list", value)
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        return _fail(path, f"a list of {len(arguments)}", value)
    items = enumerate(zip(arguments, value, strict=True))
    return tuple(_convert(kind, item, f"{path}[{index}]") for index, (kind, item) in items)


def _convert_dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        return _fail(path, "an object", value)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    if unknown := value.keys() - fields.keys():
        raise ValueError(f"expected keys of {', '.join(fields)}{_at(path)}, found {min(unknown, key=str)!r}")
    needed = (dataclasses.MISSING, dataclasses.MISSING)
    missing = [n for n, f in fields.items() if n not in value and (f.default, f.default_factory) == needed]
    if missing:
        raise ValueError(f"expected {missing[0]!r}{_at(path)}, found none")
    hints = get_type_hints(kind)
    converted = {name: _convert(hints[name], item, f"{path}.{name}") for name, item in value.items()}
    try:
        return kind(**converted)
    except ValueError as error:
        raise ValueError(f"{error}{_at(path)}") from error


def _fail(path: str, expected: str, value: Any) -> NoReturn:
    raise ValueError(f"expected {expected}{_at(path)}, found {value!r:.60}")


def _at(path: str) -> str:
    return f" at {path.removeprefix('.')}" if path else ""
