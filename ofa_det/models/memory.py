"""glibc's allocator, told to keep what it has: returning freed tensors to the kernel halves CPU training."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

# mallopt(3) parameter numbers, and values large enough that freed blocks stay in the heap.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP_BYTES = 2**30
_TOP_PAD_BYTES = 2**28


def keep_freed_memory() -> bool:
    """Sets the allocator for large tensors that come and go; elsewhere than on glibc it does nothing.

    Returns:
        Whether it was set.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    settings = {_M_TRIM_THRESHOLD: _KEEP_BYTES, _M_MMAP_THRESHOLD: _KEEP_BYTES, _M_TOP_PAD: _TOP_PAD_BYTES}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())


def release_freed_memory() -> None:
    """Returns to the kernel what was kept; before a fork, whose child would hold it as long as it lives.

    Elsewhere than on glibc it does nothing.
    """
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
