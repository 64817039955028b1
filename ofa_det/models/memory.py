"""glibc's allocator, told to keep what it has: returning freed tensors to the kernel halves CPU training."""

from __future__ import annotations

import ctypes
import sys

# mallopt(3) parameter numbers, and values large enough that freed blocks stay in the heap.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP_BYTES = 2**30
_TOP_PAD_BYTES = 2**28


def keep_freed_memory() -> bool:
    """Sets the allocator for large tensors that come and go; elsewhere than on glibc it does nothing.

    Returns:
        Whether it was set.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_TRIM_THRESHOLD: _KEEP_BYTES, _M_MMAP_THRESHOLD: _KEEP_BYTES, _M_TOP_PAD: _TOP_PAD_BYTES}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())
