"""One writer a folder: of two runs that would write into the same one, the second is refused."""

from __future__ import annotations

import errno
import fcntl
import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Concatenate, ParamSpec, Protocol, TypeVar

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)

P = ParamSpec("P")
R = TypeVar("R")


class WritesFolder(Protocol):
    """Options of a step that writes a folder."""

    @property
    def output(self) -> str:
        """The folder."""
        ...


ConfigT = TypeVar("ConfigT", bound=WritesFolder)


@contextmanager
def only_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made if there is none, until the block ends.

    The lock ends with this process however it ends, SIGKILL included. Its worker processes do not inherit it, so that
    those which outlive a killed run for some seconds are in nobody's way.

    Args:
        folder: that is written.

    Raises:
        ValueError: another process writes it.
    """
    path = Path(folder) / LOCK_FILE
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
        if made and not any(path.parent.iterdir()):  # A run that was refused leaves no empty folder.
            path.parent.rmdir()


def alone_in_output(step: Callable[Concatenate[ConfigT, P], R]) -> Callable[Concatenate[ConfigT, P], R]:
    """The step, as the only writer of its config's `output`."""

    @functools.wraps(step)
    def alone(config: ConfigT, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with only_writer(config.output):
            return step(config, *args, **kwargs)

    return alone


def _locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("a+b")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                logger.warning("%s is on a file system without locks; let no other run write there", path.parent)
                return file
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "another one"
            file.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise ValueError(
                f"expected no other process at work in {path.parent}, found process {holder}; wait for it to end, or "
                "pass another --output"
            ) from error
        if _is_still(path, file):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            return file
        file.close()  # Whoever held it has removed it meanwhile.


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
