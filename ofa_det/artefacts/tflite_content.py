"""The content of a `.tflite` file, opened: as tables to read and change, or as an interpreter that runs it."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from typing import Any, Final

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

_IDENTIFIER: Final = b"TFL3"
_OP_NAMES: Final[Mapping[int, str]] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}

BROKEN: Final = (struct.error, LookupError, TypeError, ValueError, AttributeError)
"""What the generated reader raises, since it follows whatever offsets stand in a damaged file."""


_MEND: Final = "copy or export it anew"


def broken_model(where: str) -> ValueError:
    """The error of a file that begins as a TFLite model and does not go on as one."""
    return ValueError(f"expected a whole TFLite model in {where}, found a cut or damaged one; {_MEND}")


def read_tables(content: bytes, *, where: str) -> Any:
    """The tables of a file, to be read or changed.

    Args:
        content: the flatbuffer.
        where: what is read, for the error.

    Returns:
        A `ModelT` of TensorFlow Lite's schema.

    Raises:
        ValueError: not a TFLite flatbuffer, or a broken one.
    """
    if content[4:8] != _IDENTIFIER:
        raise ValueError(f"expected a TFLite model in {where}, found no TFL3 identifier; {_MEND}")
    try:
        return schema.ModelT.InitFromPackedBuf(bytearray(content))
    except BROKEN as error:
        raise broken_model(where) from error


def write_tables(model: Any) -> bytes:
    """The flatbuffer of tables, inverse of `read_tables`."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def builtin_name(code: Any) -> str:
    """Name of an operator code, `CUSTOM` of all custom ops; old files have it in the deprecated byte alone."""
    return _OP_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "unknown")


def op_name(code: Any) -> str:
    """Name of an operator code, a custom op's own."""
    builtin = builtin_name(code)
    return str(code.customCode.decode(errors="replace")) if builtin == "CUSTOM" and code.customCode else builtin


def open_interpreter(
    content: bytes, *, where: str = "the file", threads: int = 1, delegates: bool = True, keep_all: bool = False
) -> Interpreter:
    """An interpreter, ready to run.

    Args:
        content: the flatbuffer.
        where: what is run, for the error.
        threads: of the CPU.
        delegates: whether XNNPACK may take over what it knows; else the built-in kernels run.
        keep_all: keep the tensors between the ops; a delegate would fuse ops and hide them, so none is taken.

    Raises:
        ValueError: no thread, or nothing that runs.
    """
    if threads < 1:
        raise ValueError(f"expected one thread at least, found {threads}")
    plain = keep_all or not delegates
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That keeping all tensors takes memory.
            interpreter = Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=(
                    OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
                ),
                experimental_preserve_all_tensors=keep_all,
            )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        read_tables(content, where=where)  # Says what is wrong with a file that is none.
        reason = " ".join(str(error).split())
        raise ValueError(
            f"expected a TFLite model in {where} that LiteRT runs, found {reason:.100}; {_MEND}"
        ) from error
    return interpreter
